"""`roamvpn simulate` from outside: what it prints, writes, and exits with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from roamvpn.cli import cli
from roamvpn.signalling.hand_offs import HandOffs
from roamvpn.stores.templates import example_site
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["simulate", *arguments])


def test_an_embodiment_is_told_with_steps_and_changes() -> None:
    result = _run("e5")
    assert result.exit_code == 0
    assert "E5.2      15.0 ms    4  Reg Req  fa21b → ha31" in result.output
    assert "+ tunnel pcn41b→fa21b  own esp, rv-own1" in result.output
    assert "after:  fa21b→pcn41b, fa21→fa21b (hand-off), pcn41b→fa21b" in result.output


def test_pictures_and_diagrams_are_written(tmp_path: Path) -> None:
    assert _run("E2", "--out", str(tmp_path / "new")).exit_code == 0
    before, after = ((tmp_path / f"new/{name}.svg").read_text() for name in ("before", "after"))
    ET.fromstring(after)  # noqa: S314 - our own
    assert "hand-off" in after
    assert "hand-off" not in before
    assert (tmp_path / "new/sequence.mmd").read_text().startswith("sequenceDiagram")
    assert json.loads((tmp_path / "new/trace.json").read_text())["embodiment"] == "E2"


def test_a_machine_may_read_all_of_it() -> None:
    data = json.loads(_run("E4", "--json").output)
    messages = [line["message"] for line in data["trace"] if line["kind"] == "message"]
    assert messages == ["Reg Req", "AMR", "AMR", "HAR", "BU", "BA", "HAA", "AMA", "AMA", "Reg Rep"]
    assert data["differences"] == []


def test_a_sequence_diagram_can_be_printed() -> None:
    output = _run("E6", "--mermaid").output
    assert output.count("->>") == 12
    assert "participant p0 as frank" in output


def test_a_script_plays_on_a_site(tmp_path: Path) -> None:
    script = tmp_path / "moves.yml"
    script.write_text("moves:\n  - {at: 1, user: alice@isp3.example, move: fa21b}\n")
    data = json.loads(_run("--policy", str(example_site()), "--script", str(script), "--json").output)
    assert data["answers"][0]["gateways"] == ["fa21", "fa21b", "ha31"]
    assert data["differences"] == []


def test_a_storm_reports_as_json() -> None:
    data = json.loads(_run("storm", "--users", "50", "--seconds", "1", "--json").output)
    assert (data["served"], data["differences"]) == (50, [])


def test_faults_are_counted() -> None:
    data = json.loads(_run("faults", "--registrations", "150", "--json").output)
    assert data["registrations"] >= 150
    assert data["histories"] >= 1


def test_a_failing_history_names_its_seed_and_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HandOffs, "outgoing", lambda *_: None)
    result = _run("faults", "--registrations", "5000")
    assert result.exit_code == 1
    assert "seed " in result.output
    assert "repeat it with: roamvpn simulate faults --seed" in result.output


@pytest.mark.parametrize("arguments", [(), ("E1", "--script", "moves.yml"), ("--script", "missing.yml")])
def test_what_does_not_fit_is_one_clear_message(arguments: tuple[str, ...]) -> None:
    result = _run(*arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, RoamvpnError)
