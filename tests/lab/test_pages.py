"""Pages that show what playbooks print: it is what they printed in the laboratory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab
Results = dict[str, dict[str, str]]
DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```text\n(ansible-playbook [^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    (page.name, command, shown)
    for page in sorted(DOCS.rglob("*.md"))
    for command, shown in BLOCK.findall(page.read_text())
]


def _calm(line: str) -> str:
    """The line without what differs from run to run: digests, rules of asterisks, the order in which hosts answer."""
    line = re.sub(r"\b[0-9a-f]{12,64}\b", "#", line.rstrip())
    return re.sub(r" \*+$", "", line)


def _follows(shown: list[str], printed: list[str]) -> str:
    """The first shown line that was not printed after the one before it; empty where all were."""
    rest = iter(printed)
    for line in shown:
        pattern = re.compile(re.escape(line).replace("…", ".*"))
        if not any(pattern.fullmatch(each) for each in rest):
            return line
    return ""


def test_there_are_pages_with_output() -> None:
    assert {command.split()[1].rpartition(".")[2] for _page, command, _shown in BLOCKS} == {
        "plan", "site", "verify", "rollback", "rotate_keys", "decommission",
    }  # fmt: skip


@pytest.mark.parametrize(("page", "command", "shown"), BLOCKS, ids=[f"{each[0]} {each[1]}" for each in BLOCKS])
def test_what_a_page_shows_was_printed(managed: Results, page: str, command: str, shown: str) -> None:
    lines = [_calm(line) for line in shown.splitlines() if line.strip() not in ("", "…")]
    command = _calm(command)
    runs = {name: text for name, text in managed["played"].items() if _calm(name.partition(" ")[2]) == command}
    assert runs, f"{page}: nobody ran {command}"
    wrong = [_follows(lines, [_calm(line) for line in text.splitlines()]) for text in runs.values()]
    assert "" in wrong, f"{page}: {command}: {wrong}"
