"""What the documents show is what the program does: reference, links, commands, and the output of every example."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import pytest
import yaml

from roamvpn.cli import cli
from roamvpn.policy import naming
from roamvpn.render import artefacts
from roamvpn.tables.site import MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
GUIDES = [*DOCS.glob("tutorial.md"), *sorted((DOCS / "how-to").glob("*.md"))]


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _script() -> ModuleType:
    loader = SourceFileLoader("docs_reference", str(ROOT / "scripts/docs-reference"))
    spec = spec_from_loader("docs_reference", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says() -> None:
    stale = [_named(path) for path, text in _script().pages().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run scripts/docs-reference"


def test_every_field_is_described_and_every_description_has_a_field() -> None:
    script = _script()
    described = yaml.safe_load((DOCS / "reference/fields.yml").read_text())
    models = set(MODELS.values())
    for model in list(models):
        models |= set(script._inner(model, models))
    assert {model.__name__: set(model.model_fields) for model in models} == {
        name: set(fields) for name, fields in described["fields"].items()
    }


# links


def _anchors(path: Path) -> set[str]:
    text = path.read_text()
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^a-z0-9_ -]", "", head.lower()).replace(" ", "-") for head in heads}
    return made | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in _anchors(path)):
            broken.append(link)
    assert broken == []


def test_every_page_stands_in_an_index() -> None:
    index = (DOCS / "README.md").read_text() + (DOCS / "adr/README.md").read_text()
    pages = [path for path in DOCS.rglob("*.md") if path.name != "README.md"]
    assert [_named(path) for path in pages if path.name not in index] == []


# commands


def _commands(text: str) -> Iterator[str]:
    """What follows `roamvpn` in code, inline and in blocks, up to what the shell would do with it."""
    blocks = [*re.findall(r"```(?:sh|yaml)\n(.*?)```", text, re.DOTALL), *(step.command for step in steps(text))]
    for block in blocks:
        yield from re.findall(r"^(?:- )?roamvpn ([^\n;|>&)]+)", block, re.MULTILINE)
    yield from re.findall(r"`roamvpn ([^`\n{]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_command_is_one(page: Path) -> None:
    for line in _commands(page.read_text()):
        try:
            with cli.make_context("roamvpn", shlex.split(line)) as context:
                name, command, rest = cli.resolve_command(context, [*context._protected_args, *context.args])
                assert command is not None
                command.make_context(name, rest, parent=context)
        except click.exceptions.Exit:
            pass  # --help and --version
        except click.MissingParameter:
            assert " " not in line, line  # a command that is only named
        except click.UsageError as error:
            pytest.fail(f"roamvpn {line}: {error.format_message()}")


# examples


class Step(NamedTuple):
    """A command of a console block, and what the page says that it prints."""

    command: str
    shown: list[str]


def steps(text: str) -> list[Step]:
    """The `$` commands of a page's console blocks, in order; a here-document belongs to its command."""
    found: list[Step] = []
    for block in re.findall(r"^ *```console\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        lines = iter(block.splitlines())
        for line in lines:
            if not line.startswith("$ "):
                found[-1].shown.append(line)
                continue
            command = [line[2:]]
            here = re.search(r"<<'(\w+)'", line)
            while (here and command[-1] != here[1]) or command[-1].endswith("\\"):
                command.append(next(lines))
            found.append(Step("\n".join(command), []))
    return found


def run(commands: list[str], work: Path) -> list[str]:
    """Run a page's commands one after the other in one shell; what each prints, stdout and stderr."""
    tools = work / ".tools"
    tools.mkdir()
    (tools / "roamvpn").write_text(
        f"#!/bin/sh\nexec '{sys.executable}' -c 'from roamvpn.cli import main; main()' \"$@\"\n"
    )
    (tools / "roamvpn").chmod(0o755)
    script = "".join(f"code=$?; printf '\\0'; (exit $code)\n{command}\n" for command in commands)
    environment = {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "generator"),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(work / ".tools"),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_COUNT": "3",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "Reader",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "reader@isp3.example",
        "GIT_CONFIG_KEY_2": "init.defaultBranch",
        "GIT_CONFIG_VALUE_2": "main",
    }
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.split("\0")[1:]


def _calm(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run: keys, digests, fingerprints; a table's padding."""
    return [re.sub(r"\b[0-9a-f]{12,64}\b", "#", line.rstrip()) for line in lines if line.strip()]


def _fits(shown: list[str], printed: list[str]) -> bool:
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


@pytest.mark.parametrize("page", [page for page in GUIDES if steps(page.read_text())], ids=_named)
def test_every_example_prints_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    wanted = steps(page.read_text())
    printed = run([step.command for step in wanted], tmp_path)
    assert len(printed) == len(wanted)
    for step, text in zip(wanted, printed, strict=True):
        assert _fits(_calm(step.shown), _calm(text.splitlines())), f"$ {step.command}\n{text}"


# numbers and files


def test_the_page_on_files_has_the_numbers_of_the_code() -> None:
    text = (DOCS / "reference/files.md").read_text()
    numbers = [
        naming.VISITORS_TABLE,
        naming.OWN_NUMBER,
        naming.OWN_NUMBER + 1,
        *naming._SHARED_BASE.values(),
        naming.INGRESS_BLOCK,
        naming.DEVICE_RULE,
        naming.VISITORS_RULE,
        naming.UNREACHABLE_METRIC,
        *naming._PRIORITY_BASE.values(),
    ]
    assert [number for number in numbers if not re.search(rf"\b{number}\b", text)] == []


def test_the_page_on_files_names_every_base_file() -> None:
    text = (DOCS / "reference/files.md").read_text()
    assert [path for path in artefacts._BASE_FILES if path.rpartition("/")[2] not in text] == []
