"""Signalling on the example network: single machines to step by hand, worlds, and who watches or disturbs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from roamvpn.policy.compile import Compiler, Decider
from roamvpn.policy.keys import derived
from roamvpn.policy.legs import LegCompiler
from roamvpn.signalling.aaaf import Aaaf
from roamvpn.signalling.aaah import Aaah
from roamvpn.signalling.directory import Directory
from roamvpn.signalling.effects import Apply, Send
from roamvpn.signalling.fa import Fa
from roamvpn.signalling.ha import Ha
from roamvpn.signalling.machine import Surroundings
from roamvpn.signalling.messages import NAMES, Address, NodeRole
from roamvpn.signalling.pcn import Pcn
from roamvpn.signalling.settings import Settings
from roamvpn.sim.options import Options
from roamvpn.sim.world import World, seconds
from roamvpn.tables.records import Session
from tests.documents import Documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from roamvpn.policy.information import VpnInformation
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.messages import Message
    from roamvpn.sim.world import Seen
    from roamvpn.tables.records import VpnRecord
    from roamvpn.tables.secrets import Secrets
    from roamvpn.tables.tables import Tables

ALICE, BOB, CAROL, FRANK, GRACE = (f"{name}@isp3.example" for name in ("alice", "bob", "carol", "frank", "grace"))
SETTINGS = Settings(max_lifetime=60, br_threshold=10, authorization=120)
ENTROPY = derived(b"k" * 32)
TABLES = Documents().site().tables
ORIGIN = "fa21"

Kind = TypeVar("Kind")


class Bench:
    """Machines of the example network, and what they would be sent."""

    def __init__(self, tables: Tables = TABLES, **settings: Any) -> None:  # noqa: ANN401 - values of settings
        self.tables = tables
        self.settings = SETTINGS._replace(**settings)
        self.compiler = Compiler(tables, None, ENTROPY)
        self._directory, self._legs = Directory(tables.network), LegCompiler(tables.network)

    def _surroundings(self, name: str) -> Surroundings:
        return Surroundings(name, self._directory, self._legs, self.settings)

    def aaah(self) -> Aaah:
        return Aaah(self._surroundings("aaah33"), Decider(self.tables, None, ENTROPY), ENTROPY)

    def aaaf(self, name: str = "aaaf23") -> Aaaf:
        return Aaaf(self._surroundings(name))

    def fa(self, name: str = ORIGIN) -> Fa:
        return Fa(self._surroundings(name), ENTROPY)

    def ha(self) -> Ha:
        return Ha(self._surroundings("ha31"))

    def pcn(self, name: str = "pcn41b") -> Pcn:
        return Pcn(self._surroundings(name))

    def records(self, nai: str) -> tuple[VpnRecord, ...]:
        return tuple(self.tables.vpn_database.get(nai, ()))

    def information(self, nai: str, agent: str = ORIGIN, generation: int = 0) -> VpnInformation:
        """As the AAAH holds it, with root keys."""
        session = Session(session_id="aaah33;1", nai=nai, foreign_agent=agent, generation=generation)
        return self.compiler.information(session)[0]

    def on_leg(self, nai: str, agent: str = ORIGIN, generation: int = 0) -> VpnInformation:
        """As a foreign agent gets it."""
        return self.in_domain(nai, agent, generation).on_leg()

    def in_domain(self, nai: str, agent: str = ORIGIN, generation: int = 0) -> VpnInformation:
        """As an AAAF gets it."""
        information = self.information(nai, agent, generation).for_foreign_agent()
        return information.in_domain(self.tables.network.gateways[agent].domain)


def messages(effects: Iterable[Effect]) -> list[Message]:
    """What is sent, in order."""
    return [effect.message for effect in effects if isinstance(effect, Send)]


def one(effects: Iterable[Effect], kind: type[Kind]) -> Kind:
    """The only effect of a kind, or the only message of it."""
    effects = list(effects)
    (found,) = [each for each in (*effects, *messages(effects)) if isinstance(each, kind)]
    return found


def names(effects: Iterable[Effect]) -> list[str]:
    """Effects by name, messages by the seed's."""
    return [NAMES[type(each.message)] if isinstance(each, Send) else type(each).__name__ for each in effects]


def ways(contributions: Iterable[Any]) -> list[str]:
    """`ha31→fa21`: the tunnels of contributions, in order; one that only decodes is in brackets."""
    found = []
    for each in contributions:
        ends = each.leg or each.peer
        decodes = each.leg is None or each.leg.handle is None
        found.append(f"({ends.gateway}→{ends.peer})" if decodes else f"{ends.gateway}→{ends.peer}")
    return found


def applies(effects: Iterable[Effect]) -> list[Apply]:
    return [each for each in effects if isinstance(each, Apply)]


# worlds


class Sent(NamedTuple):
    """A message and its ends."""

    sender: Address
    to: Address
    message: Message

    @property
    def name(self) -> str:
        return NAMES[type(self.message)]


def world_of(documents: Documents | None = None, secrets: Secrets | None = None, **settings: Any) -> World:  # noqa: ANN401
    """The example network, where terminals ask for a minute."""
    tables = documents.site().tables if documents is not None else TABLES
    options = Options(settings=SETTINGS._replace(**settings), lifetime=60, durable=True)
    return World(tables, ENTROPY, options, secrets=secrets)


def go(world: World, nai: str, at: str, wait: float = 1) -> None:
    world.move(nai, at)
    world.run(world.now + seconds(wait))


def watched(world: World) -> list[Sent]:
    """Everything that is sent from now on."""
    sent: list[Sent] = []

    def watch(seen: Seen) -> None:
        if isinstance(seen.what, Send):
            sent.append(Sent(seen.node, seen.what.to, seen.what.message))

    world.watchers.append(watch)
    return sent


def tunnels(world: World, gateway: str) -> set[str]:
    """The tunnels by which a gateway sends users' packets."""
    state = world.nodes[gateway].state
    assert state is not None
    return {
        f"{leg.gateway}→{leg.peer}" for leg in state.legs.values() if leg.handle is not None and leg.owner == "session"
    }


def all_tunnels(world: World) -> set[str]:
    return {way for name, node in world.nodes.items() if node.state is not None for way in tunnels(world, name)}


def after_each(world: World, then: Callable[[int, Address], None]) -> None:
    """Call `then` after every event that a node has handled from now on, with its number and who handled it."""
    deliver, count = world._deliver, [0]

    def delivering(delivery: Any) -> None:  # noqa: ANN401 - the world's own
        deliver(delivery)
        if delivery.to.role is not NodeRole.MN:
            count[0] += 1
            then(count[0] - 1, delivery.to)

    world._deliver = delivering  # type: ignore[method-assign]


def delayed(world: World, number: int, *delays: int) -> list[Sent]:
    """The message of that number, from now on, arrives so much later: once for each delay, never without any.

    Returns what was sent, to tell whether there was such a message.
    """
    latency, sent = world.options.latency, []

    def delays_of(here: Address, to: Address, message: Message) -> list[int]:
        sent.append(Sent(here, to, message))
        return [latency + each for each in delays] if len(sent) == number + 1 else [latency]

    world._delays = delays_of  # type: ignore[method-assign]
    return sent
