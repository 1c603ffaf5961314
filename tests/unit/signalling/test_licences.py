"""Every message that any machine sends, in embodiments and in rough histories, is licensed by Fig 11 or Fig 21."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from roamvpn.signalling.correspondence import ROWS
from roamvpn.signalling.effects import Send
from roamvpn.signalling.messages import NAMES, Ama, Amr, Applied, Bu, Found, RegRep
from roamvpn.signalling.node import Node
from roamvpn.sim import chaos
from roamvpn.sim.embodiments import EMBODIMENTS, play
from roamvpn.sim.history import draw
from roamvpn.sim.world import seconds
from tests.documents import Documents
from tests.signalled import ALICE, TABLES, go, world_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.signalling.messages import Event, NodeRole

Licence = tuple[str, str, str, str]

# Figs 11 and 21, copied by hand from B17 to B22: role, received, sent, to whom.
FIGURES: dict[str, set[Licence]] = {
    "B17": {("aaaf", "AMR", "AMR", "aaah"), ("aaaf", "AMR", "AMA", "fa"), ("aaaf", "AMA", "AMA", "fa")},
    "B18": {("aaah", "AMR", "HAR", "ha"), ("aaah", "HAA", "AMA", "aaaf")},
    "B19": {
        ("fa", "Reg Req", "AMR", "aaaf"),
        ("fa", "AMA", "Reg Req", "ha"),
        ("fa", "AMA", "BU", "fa"),
        ("fa", "AMA", "Reg Rep", "mn"),
        ("fa", "Reg Rep", "BU", "fa"),
        ("fa", "Reg Rep", "Reg Rep", "mn"),
        ("fa", "BA", "Reg Rep", "mn"),
    },
    "B20": {("fa", "BU", "BA", "fa")},
    "B21": {
        ("ha", "HAR", "HAA", "aaah"),
        ("ha", "HAR", "BU", "pcn"),
        ("ha", "Reg Req", "Reg Rep", "fa"),
        ("ha", "Reg Req", "BU", "pcn"),
        ("ha", "BA", "HAA", "aaah"),
        ("ha", "BA", "Reg Rep", "fa"),
        ("ha", "BR", "BU", "pcn"),
    },
    "B22": {("pcn", "BU", "BA", "ha"), ("pcn", "time", "BR", "ha")},
    # refusals, timeouts and repetitions, which the figures do not have
    "G25": {
        ("aaaf", "AMR", "AMA", "fa"),
        ("aaah", "AMR", "AMA", "aaaf"),
        ("aaah", "time", "AMA", "aaaf"),
        ("fa", "Reg Req", "Reg Rep", "mn"),
        ("fa", "AMA", "Reg Rep", "mn"),
        ("fa", "Reg Rep", "Reg Rep", "mn"),
        ("fa", "time", "Reg Rep", "mn"),
        ("fa", "time", "BU", "fa"),
        ("ha", "HAR", "HAA", "aaah"),
        ("ha", "time", "HAA", "aaah"),
        ("ha", "time", "Reg Rep", "fa"),
        ("ha", "time", "BU", "pcn"),
    },
    "G26": {("fa", "Reg Rep", "AMR", "aaaf"), ("ha", "Reg Req", "Reg Rep", "fa")},
}
LICENCES = {licence for rows in FIGURES.values() for licence in rows}
SEEDS = range(40)


def _name(kind: type) -> str:
    return NAMES.get(kind, "time")


def _licences_of_rows() -> dict[str, set[Licence]]:
    found: dict[str, set[Licence]] = defaultdict(set)
    for row in ROWS:
        if row.sends is not None:
            found[row.item].add((str(row.role), _name(row.received), _name(row.sends), str(row.to)))
    return found


class Watch:
    """Notes for every message that a node sends the message, or the time, because of which it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used: set[Licence] = set()
        self._received: dict[tuple[int, str, int], str] = {}
        real = Node.receive

        def receive(node: Node, role: NodeRole, event: Event, now: int) -> Any:  # noqa: ANN401 - effects
            effects = real(node, role, event, now)
            self._note(node, role, event, [each for each in effects if isinstance(each, Send)])
            return effects

        monkeypatch.setattr(Node, "receive", receive)

    def _note(self, node: Node, role: NodeRole, event: Event, sends: list[Send]) -> None:
        seq = getattr(event, "seq", 0)
        key = (id(node), event[0], seq)
        if isinstance(event, (Ama, RegRep, Bu)):
            # tunnels are set because of these; what waits for them is sent because of these too
            self._received[key] = _name(type(event))
        for send in sends:
            if isinstance(event, Applied):
                received = self._received[key]
            elif isinstance(event, Found):
                # a search is part of answering its request (S105)
                received = _name(Amr)
            else:
                received = _name(type(event))
            # a domain without a AAAF of its own talks to the home server, and is answered by it
            to = "aaaf" if (str(role), str(send.to.role)) in {("fa", "aaah"), ("aaah", "fa")} else str(send.to.role)
            self.used.add((str(role), received, _name(type(send.message)), to))


def _without_foreign_servers() -> Documents:
    documents = Documents()
    documents.network["aaa_servers"].pop("aaaf23")
    return documents


def _odd_scenarios() -> Iterator[str]:
    """What neither embodiments nor histories show: nobody is responsible."""
    world = world_of(_without_foreign_servers())
    go(world, ALICE, "fa21")
    go(world, ALICE, "fa21b")
    yield "no AAAF"
    documents = _without_foreign_servers()
    documents.network["aaa_servers"].pop("aaah33")
    world = world_of(documents)
    go(world, ALICE, "fa21")
    yield "no AAA server at all"
    go(world, ALICE, "fa22")
    yield "an AAAF that knows no server of the realm"
    world.run(world.now + seconds(5))


def test_the_tables_say_what_the_requirements_say() -> None:  # B17, B18, B19, B20, B21, B22
    assert _licences_of_rows() == FIGURES


@pytest.mark.parametrize("name", EMBODIMENTS)
def test_an_embodiment_needs_the_figures_rows_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    play(TABLES, name)
    figures = {licence for item, rows in FIGURES.items() if item.startswith("B") for licence in rows}
    assert watch.used - figures == set()
    assert ("fa", "AMA", "Reg Req", "ha") in watch.used or name not in {"E2", "E5"}


def test_nothing_is_sent_without_a_row_and_every_row_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    for name in EMBODIMENTS:
        play(TABLES, name)
    for _ in _odd_scenarios():
        assert watch.used - LICENCES == set()
    for seed in SEEDS:
        chaos.run(draw(seed))
        assert watch.used - LICENCES == set(), f"seed {seed}"
    assert LICENCES - watch.used == set()
