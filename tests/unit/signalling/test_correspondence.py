"""Figs 11 and 21 as data: the rows that the requirements ask for, and nothing that is sent without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roamvpn.signalling import aaaf, aaah, fa, ha, machine, pcn
from roamvpn.signalling.correspondence import FIG_11, FIG_21, ROWS, Case
from roamvpn.signalling.messages import NAMES, Ama, Amr, Ba, NodeRole, RegReq, Result
from roamvpn.sim import chaos
from roamvpn.sim.embodiments import EMBODIMENTS, play
from roamvpn.sim.history import draw
from tests.documents import Documents

if TYPE_CHECKING:
    from roamvpn.signalling.correspondence import Row

TABLES = Documents().site().tables


def _named(row: Row) -> tuple[str, str, str, str]:
    received = NAMES.get(row.received, row.received.__name__)
    return str(row.role), received, NAMES[row.sends] if row.sends else "-", str(row.to or "-")


def _of(item: str) -> set[tuple[str, str, str, str]]:
    return {_named(row) for row in ROWS if row.item == item}


def test_the_rows_are_those_of_the_requirements() -> None:
    assert _of("B17") == {("aaaf", "AMR", "AMR", "aaah"), ("aaaf", "AMR", "AMA", "fa"), ("aaaf", "AMA", "AMA", "fa")}
    assert _of("B18") == {("aaah", "AMR", "HAR", "ha"), ("aaah", "HAA", "AMA", "aaaf")}
    assert _of("B19") == {
        ("fa", "Reg Req", "AMR", "aaaf"),
        ("fa", "AMA", "Reg Req", "ha"),
        ("fa", "AMA", "BU", "fa"),
        ("fa", "AMA", "Reg Rep", "mn"),
        ("fa", "Reg Rep", "BU", "fa"),
        ("fa", "Reg Rep", "Reg Rep", "mn"),
        ("fa", "BA", "Reg Rep", "mn"),
    }
    assert _of("B20") == {("fa", "BU", "BA", "fa")}
    assert _of("B21") == {
        ("ha", "HAR", "HAA", "aaah"),
        ("ha", "HAR", "BU", "pcn"),
        ("ha", "BA", "HAA", "aaah"),
        ("ha", "Reg Req", "Reg Rep", "fa"),
        ("ha", "Reg Req", "BU", "pcn"),
        ("ha", "BA", "Reg Rep", "fa"),
        ("ha", "BR", "BU", "pcn"),
        ("ha", "BR", "-", "-"),
    }
    assert _of("B22") == {("pcn", "BU", "BA", "ha"), ("pcn", "Timer", "BR", "ha")}


def test_aaa_servers_stand_in_one_figure_and_agents_in_the_other() -> None:
    assert {row.role for row in FIG_11} == {NodeRole.AAAF, NodeRole.AAAH}
    assert {row.role for row in FIG_21} == {NodeRole.FA, NodeRole.HA, NodeRole.PCN}


def test_no_two_rows_answer_the_same() -> None:
    keys = [(row.role, row.received, row.case) for row in ROWS]
    assert len(set(keys)) == len(keys)


def test_an_answer_that_no_row_has_is_an_error() -> None:
    ama = Ama("alice@isp3.example", 1, "fa21", Result.SUCCESS)
    with pytest.raises(TypeError, match="fa answers Ba"):
        machine.answer(NodeRole.FA, Ba, Case.ACKNOWLEDGED, "alice@isp3.example", ama)
    with pytest.raises(KeyError):
        machine.answer(NodeRole.PCN, Ama, Case.ANY, "alice@isp3.example", ama)


def test_every_row_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[tuple[Any, ...]] = set()
    real = machine.answer

    def answer(role: NodeRole, received: type, case: Case, to: str, message: Any) -> Any:  # noqa: ANN401
        used.add((role, received, case))
        return real(role, received, case, to, message)

    for module in (aaaf, aaah, fa, ha, pcn):
        monkeypatch.setattr(module, "answer", answer)
    for name in EMBODIMENTS:
        play(TABLES, name)
    for seed in range(60):
        chaos.run(draw(seed))
    left = {row for row in ROWS if (row.role, row.received, row.case) not in used}
    # silence is a row as well; an agent or a realm without a server has a test of its own
    assert {(row.role, row.received, row.case) for row in left if row.sends is not None} == {
        (NodeRole.AAAF, Amr, Case.REFUSED),
        (NodeRole.FA, RegReq, Case.REFUSED),
    }
