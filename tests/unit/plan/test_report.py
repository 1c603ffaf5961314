"""A plan as people and programs read it."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import jsonschema
import pytest

from roamvpn.plan.compare import Action, FileChange, GatewayPlan, Plan
from roamvpn.plan.report import MAX_MARKDOWN, PlanReport, diff_text, markdown, report
from roamvpn.schemas import SCHEMAS, schema_text
from tests.one_vpn import SITE_KEY

if TYPE_CHECKING:
    from pathlib import Path

LEG, SECRET = "session/legs/a.conf", "session/secrets/a.conf"


def _report(*changes: FileChange, warnings: tuple[str, ...] = (), against: str = "out") -> PlanReport:
    plan = Plan((GatewayPlan("fa21", changes),) if changes else (), "d1")
    return report(plan, site="small", against=against, warnings=list(warnings), mask_key=SITE_KEY)


def test_a_diff_is_unified_and_names_the_gateway() -> None:
    text = diff_text(_report(FileChange(LEG, Action.CHANGED, "a\nb\nc\n", "a\nB\nc\n")))
    assert text == (f"--- a/fa21/{LEG}\n+++ b/fa21/{LEG}\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n")


def test_a_diff_is_what_git_applies(tmp_path: Path) -> None:
    changes = (
        FileChange("base/new.conf", Action.ADDED, None, "x\ny\n"),
        FileChange("base/old.conf", Action.REMOVED, "p\nq\n", None),
        FileChange(LEG, Action.CHANGED, "a\nb\n", "a\nc\n"),
    )
    for change in changes:
        if change.before is not None:
            path = tmp_path / "fa21" / change.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(change.before)
    subprocess.run(["git", "apply", "-"], input=diff_text(_report(*changes)), text=True, cwd=tmp_path, check=True)
    found = {path.relative_to(tmp_path / "fa21").as_posix(): path.read_text() for path in tmp_path.rglob("*.conf")}
    assert found == {"base/new.conf": "x\ny\n", LEG: "a\nc\n"}


def test_an_added_and_a_removed_file_have_nothing_on_the_other_side() -> None:
    added, removed = (
        diff_text(_report(change)).splitlines()[:2]
        for change in (FileChange(LEG, Action.ADDED, None, "a\n"), FileChange(LEG, Action.REMOVED, "a\n", None))
    )
    assert added == ["--- /dev/null", f"+++ b/fa21/{LEG}"]
    assert removed == [f"--- a/fa21/{LEG}", "+++ /dev/null"]


def test_a_secret_that_is_not_at_hand_says_so() -> None:
    text = diff_text(_report(FileChange(SECRET, Action.CHANGED, None, "secret = 0x00\n")))
    assert "-(content not at hand)" in text
    assert "+secret = <secret " in text


def test_a_rotated_key_is_one_changed_line_and_shows_no_value() -> None:
    old, new = (f"# secret of a\nsecrets {{\n  ike-a {{\n    secret = 0x{digit * 64}\n  }}\n}}\n" for digit in "ab")
    found = _report(FileChange(SECRET, Action.CHANGED, old, new))
    for text in (diff_text(found), markdown(found), found.model_dump_json(by_alias=True)):
        assert not re.search(r"[ab]{13}", text)
    lines = [line for line in diff_text(found).splitlines() if re.match(r"[+-](?![+-])", line)]
    assert len(lines) == 2
    assert lines[0][1:] != lines[1][1:]


def test_json_is_what_its_schema_says() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema_text("plan")))
    for found in (_report(), _report(FileChange(LEG, Action.ADDED, None, "a\n"), warnings=("w",))):
        data = json.loads(found.model_dump_json(by_alias=True))
        validator.validate(data)
        assert data["changed"] == bool(data["gateways"])


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_schema_is_one(name: str) -> None:
    schema = json.loads(schema_text(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == f"roamvpn {name}"


@pytest.mark.parametrize("run", [1, 3, 4, 17])
def test_no_content_closes_its_fence(run: int) -> None:
    ticks = "`" * run
    text = markdown(_report(FileChange(LEG, Action.ADDED, None, f"{ticks}\n{ticks}diff\n</details>\n")))
    (fence,) = re.findall(r"^(`{3,})diff$", text, re.MULTILINE)
    assert len(fence) > max(run, 2)
    body = text.split(f"{fence}diff\n")[1].split(f"\n{fence}\n")[0]
    assert f"+{ticks}" in body
    assert "+</details>" in body


def test_a_long_diff_is_cut_at_a_line_and_says_so() -> None:
    text = markdown(_report(FileChange(LEG, Action.ADDED, None, "x" * 99 + "\n" + ("y" * 99 + "\n") * 2000)))
    assert len(text) < MAX_MARKDOWN + 1000
    assert "… cut; run `roamvpn plan` for the whole diff" in text
    assert all(len(line) in (100, 0) or "y" * 5 not in line for line in text.splitlines())


@pytest.mark.parametrize(("count", "lines"), [(30, 90), (5000, 1), (600, 20), (1, 5000)])
def test_markdown_stays_below_what_hosts_take_however_large_the_plan(count: int, lines: int) -> None:
    change = FileChange(LEG, Action.ADDED, None, ("y" * 99 + "\n") * lines)
    plan = Plan(tuple(GatewayPlan(f"g{n}-{'x' * 24}", (change,)) for n in range(count)), "d")
    text = markdown(report(plan, site="s", against="o", warnings=["w*" * 2000] * 500, mask_key=None))
    assert len(text) < 65_536
    assert text.count("<details>") == text.count("</details>") >= 1
    assert "| … and 4800 more |" in text or count < 5000
    assert "> … and 480 warnings more" in text
    if count > 30:
        assert re.search(r"Diffs of \d+ gateways are cut", text)
    assert text.endswith("compared with o.\n")


def test_warnings_and_names_cannot_format() -> None:
    text = markdown(_report(warnings=("a *b* <script> [x](y) `z` #1",), against="<b>|x"))
    assert r"a \*b\* \<script\> \[x\](y) \`z\` \#1" in text
    assert r"compared with \<b\>\|x." in text


def test_without_changes_there_is_no_table() -> None:
    text = markdown(_report())
    assert text.startswith("### roamvpn plan: no changes\n")
    assert "| gateway |" not in text
