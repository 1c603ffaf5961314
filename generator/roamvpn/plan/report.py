"""A plan for people and machines: unified diffs, a summary, JSON with a published schema, Markdown."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from roamvpn.plan.compare import Action, FileChange, Plan
from roamvpn.plan.masking import masker
from roamvpn.tables.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_MARKDOWN = 65_000
"""Characters of a Markdown report: hosts of review comments refuse more than 65,536."""
_MAX_WARNINGS, _MAX_ROWS, _LEAST_DIFF = 20, 200, 500


class FileReport(Frozen):
    """One changed file; `diff` is unified, secrets masked."""

    path: str
    action: Action
    secret: bool
    diff: list[str]


class GatewayReport(Frozen):
    """One gateway that changes."""

    gateway: str
    files: list[FileReport]


class SummaryReport(Frozen):
    """Counts of the plan, and the summary line."""

    text: str
    gateways: int
    legs_added: int
    legs_removed: int
    legs_replaced: int
    files: int
    secrets_replaced: int


class PlanReport(Frozen):
    """What `roamvpn plan --json` prints."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    site: str
    against: str
    digest: str
    changed: bool
    summary: SummaryReport
    warnings: list[str]
    gateways: list[GatewayReport]


def report(plan: Plan, *, site: str, against: str, warnings: list[str], mask_key: bytes | None) -> PlanReport:
    """The plan with every diff made and masked."""
    mask = masker(mask_key)
    gateways = [
        GatewayReport(
            gateway=entry.gateway,
            files=[
                FileReport(
                    path=change.path,
                    action=change.action,
                    secret=change.secret,
                    diff=list(_diff(entry.gateway, change, mask)),
                )
                for change in entry.changes
            ],
        )
        for entry in plan.gateways
    ]
    counts = plan.summary
    summary = SummaryReport(
        text=str(counts),
        gateways=counts.gateways,
        legs_added=counts.legs_added,
        legs_removed=counts.legs_removed,
        legs_replaced=counts.legs_replaced,
        files=counts.files,
        secrets_replaced=counts.secrets_replaced,
    )
    return PlanReport(
        site=site,
        against=against,
        digest=plan.digest,
        changed=bool(plan.gateways),
        summary=summary,
        warnings=warnings,
        gateways=gateways,
    )


def _diff(gateway: str, change: FileChange, mask: Callable[[str], str]) -> Iterator[str]:
    before = _lines(change.before, mask if change.secret else None)
    after = _lines(change.after, mask if change.secret else None)
    name = printable(f"{gateway}/{change.path}")
    old = "/dev/null" if change.action is Action.ADDED else f"a/{name}"
    new = "/dev/null" if change.action is Action.REMOVED else f"b/{name}"
    if change.before is None and change.action is not Action.ADDED:
        before = ["(content not at hand)"]
    if change.after is None and change.action is not Action.REMOVED:
        after = ["(content not at hand)"]
    for line in difflib.unified_diff(before, after, old, new, lineterm=""):
        yield line.rstrip()


def _lines(text: str | None, mask: Callable[[str], str] | None) -> list[str]:
    if text is None:
        return []
    return [printable(line) for line in (mask(text) if mask is not None else text).splitlines()]


def printable(line: str) -> str:
    """The line with escapes for what could move a cursor: deployed files may hold anything."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in line)


def diff_text(plan: PlanReport) -> str:
    """All diffs, one after the other, as `git apply` and people read them."""
    return "".join(f"{line}\n" for gateway in plan.gateways for file in gateway.files for line in file.diff)


def markdown(plan: PlanReport) -> str:
    """A comment for a review: the summary, warnings, a table, and the diffs folded by gateway."""
    lines = [f"### roamvpn plan: {plan.summary.text}", ""]
    lines += [f"> ⚠️ {_escape(warning[:300])}" for warning in plan.warnings[:_MAX_WARNINGS]]
    if len(plan.warnings) > _MAX_WARNINGS:
        lines.append(f"> … and {len(plan.warnings) - _MAX_WARNINGS} warnings more")
    if plan.warnings:
        lines.append("")
    if plan.gateways:
        lines += ["| gateway | legs added | removed | replaced | files |", "| --- | ---: | ---: | ---: | ---: |"]
    for gateway in plan.gateways[:_MAX_ROWS]:
        legs = [file.action for file in gateway.files if "/legs/" in file.path]
        counts = " | ".join(str(legs.count(action)) for action in (Action.ADDED, Action.REMOVED, Action.CHANGED))
        lines.append(f"| {gateway.gateway} | {counts} | {len(gateway.files)} |")
    if len(plan.gateways) > _MAX_ROWS:
        lines.append(f"| … and {len(plan.gateways) - _MAX_ROWS} more | | | | |")
    left = MAX_MARKDOWN - _length(lines)
    for number, gateway in enumerate(plan.gateways):
        if left < _LEAST_DIFF:
            lines += ["", f"Diffs of {len(plan.gateways) - number} gateways are cut; run `roamvpn plan` for all of it."]
            break
        block = _folded(gateway, left)
        left -= _length(block)
        lines += block
    lines += ["", f"Plan digest `{plan.digest}`, compared with {_escape(plan.against)}."]
    return "\n".join(lines) + "\n"


def _folded(gateway: GatewayReport, room: int) -> list[str]:
    body = "\n".join(line for file in gateway.files for line in file.diff)
    if len(body) > room:
        body = body[:room].rsplit("\n", 1)[0] + "\n… cut; run `roamvpn plan` for the whole diff"
    # a fence longer than any run of backticks inside cannot be closed by the content
    fence = "`" * max(3, _longest_run(body) + 1)
    title = f"<details><summary>{gateway.gateway}</summary>"
    return ["", title, "", f"{fence}diff", body, fence, "", "</details>"]


def _length(lines: list[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in r"\`*_{}[]<>#|!" else char for char in text)


def _longest_run(text: str) -> int:
    longest = run = 0
    for char in text:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return longest
