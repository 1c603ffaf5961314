"""The seven embodiments of the source text (Figs 4, 25 to 30), played on the example network."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.policy.compile import Fleet
from roamvpn.policy.keys import derived
from roamvpn.signalling.effects import Order
from roamvpn.signalling.messages import NodeRole
from roamvpn.signalling.settings import Settings
from roamvpn.sim.options import Options
from roamvpn.sim.oracle import differences, sessions
from roamvpn.sim.trace import StepKey, Trace
from roamvpn.sim.world import World, seconds
from roamvpn.tables.types import parse_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roamvpn.tables.records import VpnRecord
    from roamvpn.tables.tables import Tables

ALICE, FRANK = "alice@isp3.example", "frank@isp3.example"
HOME, NEAR, ELSEWHERE = "fa21", "fa21b", "fa22"
"""Where users begin; another foreign agent of the same domain; one of another domain."""
OTHER_DESTINATION = "198.51.100.7"
"""Behind PCN 41; what Frank chooses in E7."""


class Embodiment(NamedTuple):
    """What is played: who, where he is before, where he goes; `None` as `goes` is a service update where he is.

    `steps` numbers messages, by name and roles, as the requirements do.
    """

    title: str
    figure: str
    user: str
    starts: str | None
    goes: str | None
    steps: Mapping[StepKey, str]


_MN, _FA, _AAAF, _AAAH, _HA, _PCN = (
    NodeRole.MN,
    NodeRole.FA,
    NodeRole.AAAF,
    NodeRole.AAAH,
    NodeRole.HA,
    NodeRole.PCN,
)


def _numbered(name: str, *numbered: tuple[int, str, NodeRole, NodeRole]) -> dict[StepKey, str]:
    return {(message, sender, to): f"{name}.{number}" for number, message, sender, to in numbered}


_ASK = [
    ("Reg Req", _MN, _FA),
    ("AMR", _FA, _AAAF),
    ("AMR", _AAAF, _AAAH),
]
EMBODIMENTS: dict[str, Embodiment] = {
    "E1": Embodiment(
        "initial registration, static gateway",
        "Fig 4",
        ALICE,
        None,
        HOME,
        _numbered(
            "E1",
            *((2, *each) for each in _ASK),
            (3, "HAR", _AAAH, _HA),
            (4, "HAA", _HA, _AAAH),
            (5, "AMA", _AAAH, _AAAF),
            (5, "AMA", _AAAF, _FA),
            (6, "Reg Rep", _FA, _MN),
        ),
    ),
    "E2": Embodiment(
        "move within a domain, static gateway",
        "Fig 25",
        ALICE,
        HOME,
        NEAR,
        _numbered(
            "E2",
            *((1, *each) for each in _ASK),
            (1, "AMA", _AAAF, _FA),
            (2, "Reg Req", _FA, _HA),
            (3, "Reg Rep", _HA, _FA),
            (4, "BU", _FA, _FA),
            (5, "BA", _FA, _FA),
            (5, "Reg Rep", _FA, _MN),
        ),
    ),
    "E3": Embodiment(
        "move between domains, static gateway",
        "Fig 26",
        ALICE,
        HOME,
        ELSEWHERE,
        _numbered(
            "E3",
            *((1, *each) for each in _ASK),
            (2, "HAR", _AAAH, _HA),
            (3, "HAA", _HA, _AAAH),
            (3, "AMA", _AAAH, _AAAF),
            (3, "AMA", _AAAF, _FA),
            (4, "BU", _FA, _FA),
            (4, "BA", _FA, _FA),
            (4, "Reg Rep", _FA, _MN),
        ),
    ),
    "E4": Embodiment(
        "initial registration, dynamic gateway (PCN)",
        "Fig 27",
        FRANK,
        None,
        HOME,
        _numbered(
            "E4",
            *((1, *each) for each in _ASK),
            (2, "HAR", _AAAH, _HA),
            (2, "BU", _HA, _PCN),
            (3, "BA", _PCN, _HA),
            (4, "HAA", _HA, _AAAH),
            (4, "AMA", _AAAH, _AAAF),
            (4, "AMA", _AAAF, _FA),
            (4, "Reg Rep", _FA, _MN),
        ),
    ),
    "E5": Embodiment(
        "move within a domain, dynamic gateway (PCN)",
        "Fig 28",
        FRANK,
        HOME,
        NEAR,
        _numbered(
            "E5",
            *((1, *each) for each in _ASK),
            (1, "AMA", _AAAF, _FA),
            (2, "Reg Req", _FA, _HA),
            (2, "BU", _HA, _PCN),
            (2, "BA", _PCN, _HA),
            (3, "Reg Rep", _HA, _FA),
            (4, "BU", _FA, _FA),
            (4, "BA", _FA, _FA),
            (4, "Reg Rep", _FA, _MN),
        ),
    ),
    "E6": Embodiment(
        "move between domains, dynamic gateway (PCN)",
        "Fig 29",
        FRANK,
        HOME,
        ELSEWHERE,
        _numbered(
            "E6",
            *((1, *each) for each in _ASK),
            (1, "HAR", _AAAH, _HA),
            (1, "BU", _HA, _PCN),
            (1, "BA", _PCN, _HA),
            (1, "HAA", _HA, _AAAH),
            (2, "AMA", _AAAH, _AAAF),
            (2, "AMA", _AAAF, _FA),
            (3, "BU", _FA, _FA),
            (3, "BA", _FA, _FA),
            (3, "Reg Rep", _FA, _MN),
        ),
    ),
    "E7": Embodiment(
        "destination chosen by the user",
        "Fig 30",
        FRANK,
        HOME,
        None,
        _numbered(
            "E7",
            *((2, *each) for each in _ASK),
            (3, "HAR", _AAAH, _HA),
            (3, "BU", _HA, _PCN),
            (3, "BA", _PCN, _HA),
            (3, "HAA", _HA, _AAAH),
            (4, "AMA", _AAAH, _AAAF),
            (4, "AMA", _AAAF, _FA),
            (4, "Reg Rep", _FA, _MN),
            (5, "BR", _PCN, _HA),
        ),
    ),
}


class Played(NamedTuple):
    """An embodiment as it went: the fleets before and after, the trace, and the oracle's findings."""

    name: str
    order: Order
    before: Fleet
    after: Fleet
    trace: Trace
    differences: list[str]

    @property
    def embodiment(self) -> Embodiment:
        """What was played."""
        return EMBODIMENTS[self.name]


def play(tables: Tables, name: str, order: Order = Order.MAKE_BEFORE_BREAK) -> Played:
    """Play an embodiment on the example network's tables; raises KeyError for a name that is none.

    E7 goes on until the old PCN has asked, was not answered, and has let its VPN end.
    """
    embodiment = EMBODIMENTS[name]
    settings = Settings(order=order, max_lifetime=600)
    world = World(tables, derived(bytes(32)), Options(settings=settings, lifetime=600))
    trace = Trace(world, embodiment.steps)
    if embodiment.starts is not None:
        world.register(embodiment.user, embodiment.starts)
        world.run(seconds(20))
    before = fleet(world)
    trace.restart()
    if embodiment.goes is not None:
        world.move(embodiment.user, embodiment.goes)
    else:
        world.customise(embodiment.user, (chosen(tables),))
    world.run(world.now + seconds(1))
    if embodiment.goes is None:
        _until_it_lapses(world, trace)
    after = fleet(world)
    return Played(name, order, before, after, trace, differences(world, settled=False))


def chosen(tables: Tables) -> VpnRecord:
    """Frank's record with the destination that he chooses on the customise page (E7.1)."""
    (record,) = tables.vpn_database[FRANK]
    return record.model_copy(update={"destaddr": parse_prefix(OTHER_DESTINATION)})


def _until_it_lapses(world: World, trace: Trace) -> None:
    """E7.5, without the refreshes and the new PCN's questions, which have nothing to do with it."""
    kept = list(trace.lines)
    old = "pcn41b"
    world.run(world.now + seconds(world.settings.max_lifetime))
    trace.lines[:] = kept + [line for line in trace.lines[len(kept) :] if line.who == old]
    trace.renumber()


def fleet(world: World) -> Fleet:
    """What all gateways run now, as a compiled fleet, for pictures."""
    states = {name: node.state.copy() for name, node in sorted(world.nodes.items()) if node.state is not None}
    current = {nai: known.session for nai, known in sessions(world).items()}
    return Fleet(world.compiler, states, current)
