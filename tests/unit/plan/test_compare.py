"""What a change does, file by file; unchanged files are neither read nor rendered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from roamvpn.plan.compare import Action, FileChange, compare
from roamvpn.tables.records import Session
from tests.documents import Documents
from tests.one_vpn import side, with_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass
class _Side:
    """A side from `{gateway: {path: text}}`; a text's digest is the text, unless it begins with `same`."""

    files: Mapping[str, Mapping[str, str]]
    asked: list[str] = field(default_factory=list)

    def gateways(self) -> Iterable[str]:
        return self.files

    def sources(self, gateway: str) -> Mapping[str, str]:
        return {path: f"of {text}" for path, text in self.files.get(gateway, {}).items()}

    def text(self, gateway: str, path: str) -> str | None:
        self.asked.append(f"{gateway}/{path}")
        text = self.files[gateway][path]
        return None if text == "unknown" else text.partition("#")[0]


def _summary(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> str:
    return str(compare(_Side(before), _Side(after)).summary)


LEG, OTHER, PEER, SECRET = (
    "session/legs/a.conf",
    "session/legs/b.conf",
    "session/peers/a.conf",
    "session/secrets/a.conf",
)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({}, {}, "no changes"),
        ({"g": {LEG: "1"}}, {"g": {LEG: "1"}}, "no changes"),
        ({}, {"g": {LEG: "1"}}, "1 gateway changes: 1 leg added, 0 removed, 0 replaced"),
        ({"g": {LEG: "1"}}, {}, "1 gateway changes: 0 legs added, 1 removed, 0 replaced"),
        ({"g": {LEG: "1"}}, {"g": {LEG: "2"}}, "1 gateway changes: 0 legs added, 0 removed, 1 replaced"),
        (
            {"g": {LEG: "1"}, "h": {PEER: "1"}},
            {"g": {LEG: "2", OTHER: "1"}, "h": {PEER: "2"}, "i": {LEG: "1"}},
            "3 gateways change: 2 legs added, 0 removed, 1 replaced",
        ),
        ({"g": {LEG: "1#made one way"}}, {"g": {LEG: "1#made another"}}, "no changes"),
    ],
)
def test_the_summary_counts_gateways_and_legs(
    before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]], text: str
) -> None:
    assert _summary(before, after) == text


def test_only_files_that_differ_are_asked_for() -> None:
    before, after = (
        _Side({"g": {LEG: "1", PEER: "1"}, "h": {LEG: "1"}}),
        _Side({"g": {LEG: "2", PEER: "1"}, "h": {LEG: "1"}}),
    )
    (plan,) = compare(before, after).gateways
    assert plan.changes == (FileChange(LEG, Action.CHANGED, "1", "2"),)
    assert before.asked == after.asked == [f"g/{LEG}"]


def test_a_text_that_cannot_be_had_is_a_change() -> None:
    (plan,) = compare(_Side({"g": {SECRET: "unknown"}}), _Side({"g": {SECRET: "1"}})).gateways
    assert plan.changes == (FileChange(SECRET, Action.CHANGED, None, "1"),)
    assert plan.changes[0].secret
    assert not plan.changes[0].leg


def test_the_digest_of_a_plan_is_that_of_what_is_planned() -> None:
    after = {"g": {LEG: "1", PEER: "1"}}
    digests = {compare(_Side(before), _Side(after)).digest for before in ({}, after, {"h": {LEG: "3"}})}
    assert len(digests) == 1
    assert compare(_Side({}), _Side({"g": {LEG: "1"}})).digest not in digests


def test_progress_is_told_of_every_gateway_and_only_chosen_ones_are_compared() -> None:
    seen: list[str] = []
    plan = compare(_Side({}), _Side({"g": {LEG: "1"}, "h": {LEG: "1"}}), ["h"], seen.append)
    assert seen == ["h"]
    assert [each.gateway for each in plan.gateways] == ["h"]


def test_a_user_who_registers_adds_a_leg_and_a_secret_at_each_gateway_on_his_way() -> None:
    # F2: the static gateway has had its part all along
    before, after = (with_secrets(Documents()) for _ in range(2))
    before.sessions = [row for row in before.sessions if row["nai"] != "alice@isp3.example"]
    plan = compare(side(before.site()), side(after.site()))
    found = {
        (entry.gateway, change.path.split("/")[1], change.action) for entry in plan.gateways for change in entry.changes
    }
    assert found == {(gateway, kind, Action.ADDED) for gateway in ("fa21", "ha31") for kind in ("legs", "secrets")}
    assert plan.summary.legs_added == 3  # ha31 has one leg each way


def test_registering_shows_after_a_refresh_and_not_before() -> None:
    old, new = (side(with_secrets(Documents()).site()) for _ in range(2))
    assert not compare(old, new).gateways
    touched = new.fleet.register(Session(session_id="s-alice", nai="alice@isp3.example", foreign_agent="fa22"))
    new.refresh(touched)
    plan = compare(old, new)
    assert {entry.gateway for entry in plan.gateways} == touched == {"fa21", "fa22", "ha31"}
    assert str(plan.summary).startswith("3 gateways change: 2 legs added, 2 removed, 0 replaced")
