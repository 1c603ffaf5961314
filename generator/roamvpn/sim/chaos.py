"""Histories drawn from a seed: topology, users, moves and faults; run, checked against the oracle, and shrunk.

A history is a list of actions in time, so it can be printed, repeated and cut down. The same history gives the same
run, to the last message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from roamvpn.policy.keys import derived
from roamvpn.signalling.effects import Order
from roamvpn.signalling.messages import NodeRole, ServiceUpdate
from roamvpn.signalling.settings import Settings
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import MILLISECOND, Faults, Options, World, seconds
from roamvpn.tables.network import Network
from roamvpn.tables.records import CnGwTableFile, VpnDatabaseFile
from roamvpn.tables.secrets import Secrets
from roamvpn.tables.tables import Tables
from roamvpn.tables.types import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.sim.mobile import Mobile
    from roamvpn.tables.records import VpnRecord

_KEY = bytes(range(32))
LIFETIME = 20
MIXED = 0.3
SETTINGS = Settings(
    max_lifetime=LIFETIME,
    hand_off=6,
    request_timeout=3,
    ba_timeout=1,
    retry_last=4,
    br_threshold=5,
    authorization=40,
    remember=60,
)
CALM = Faults()
ROUGH = Faults(duplicate=100, late=150, lateness=800 * MILLISECOND, jitter=20 * MILLISECOND)
STORMY = ROUGH._replace(loss=120)


class Action(NamedTuple):
    """Something that is done at a time, in milliseconds."""

    at: int
    what: str
    who: str = ""
    where: str = ""
    records: tuple[VpnRecord, ...] = ()

    def __str__(self) -> str:
        """`12.340 s move u2@home.example fa3`."""
        text = f"{self.at / 1000:.3f} s {self.what} {self.who} {self.where}".rstrip()
        return text + "".join(f" [{r.profile_number} {r.destaddr.text} {r.security} {r.share}]" for r in self.records)


@dataclass(frozen=True)
class History:
    """A drawn history: `rounds` of actions, each with the faults that its messages meet."""

    seed: int
    tables: Tables
    secrets: Secrets
    rounds: tuple[tuple[Faults, tuple[Action, ...]], ...]
    order: Order = Order.MAKE_BEFORE_BREAK

    @property
    def actions(self) -> list[Action]:
        """All actions."""
        return [action for _, actions in self.rounds for action in actions]


@dataclass
class Outcome:
    """What a run came to."""

    registrations: int = 0
    messages: int = 0
    differences: list[str] = field(default_factory=list)
    when: str = ""


# drawing


def draw(seed: int, *, rounds: int = 3, actions: int = 30) -> History:
    """A history from a seed."""
    random = Random(seed)  # noqa: S311 - a simulation, and it must repeat
    network, rows = _network(random)
    users = [user["nai"] for user in network["subscribers"]]
    numbers = iter(range(1, 100_000))
    records = [record for nai in users for record in _records(random, nai, rows, numbers)]
    tables = Tables(
        Network.model_validate(network),
        VpnDatabaseFile.model_validate({"vpn_database": records}).vpn_database,
        CnGwTableFile.model_validate({"cn_gw_table": rows}).cn_gw_table,
    )
    plan = []
    for _ in range(rounds):
        faults = random.choice((CALM, ROUGH, STORMY, STORMY))
        plan.append((faults, tuple(_actions(random, tables, rows, numbers, actions, rough=faults is STORMY))))
    order = random.choice((Order.MAKE_BEFORE_BREAK, Order.MAKE_BEFORE_BREAK, Order.PATENT))
    return History(seed, tables, _secrets(tables), tuple(plan), order)


def _network(random: Random) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    gateways: dict[str, dict[str, Any]] = {}
    domains = {"home": {"realm": "home.example"}, "far": {"realm": "far.example"}, "firm": {"realm": "firm.example"}}
    servers = {"aaah": {"domain": "home", "role": "home", "address": "192.0.2.250"}}

    def gateway(name: str, domain: str, roles: list[str], **more: object) -> None:
        number = len(gateways) + 1
        gateways[name] = {
            "number": number,
            "domain": domain,
            "roles": roles,
            "address": f"192.0.2.{number}",
            "uplink": {"interface": "wan", "rate": "1gbit"},
            "access": ["lan"],
            **more,
        }

    # a VPN that is changed keeps its number, and its old PCN for a while: not beside a foreign agent of its own
    mixed = random.random() < MIXED
    for index in range(random.randint(1, 3)):
        domain = f"visited{index}"
        domains[domain] = {"realm": f"{domain}.example"}
        for _ in range(random.randint(1, 3)):
            gateway(f"fa{len(gateways) + 1}", domain, ["fa"])
        if random.random() < 0.85:
            servers[f"aaaf{index}"] = {"domain": domain, "role": "foreign", "address": f"192.0.2.{240 + index}"}
    homes = [f"ha{index}" for index in range(random.randint(1, 2))]
    for index, name in enumerate(homes):
        # now and then a gateway has two roles
        roles = ["ha"] + [role for role in ("fa", "pcn") if mixed and random.random() < 0.5]
        gateway(name, "home", roles, home_networks=[f"203.0.{index}.0/24"])
    rows = []
    for index in range(random.randint(1, 3)):
        name = f"pcn{index}"
        gateway(name, "far", ["pcn"] + (["fa"] if mixed and random.random() < 0.5 else []))
        rows.append({"cn": f"10.{index}.0.0/16", "gw_address": gateways[name]["address"], "gw_type": "dynamic"})
    for name in homes:
        if "pcn" in gateways[name]["roles"]:
            rows.append({"cn": "10.90.0.0/16", "gw_address": gateways[name]["address"], "gw_type": "dynamic"})
            break
    for index in range(random.randint(0, 2)):
        name = f"gw{index}"
        gateway(name, "firm", ["static"], sla={"home_agent": homes[0]})
        rows.append({"cn": f"10.{100 + index}.0.0/16", "gw_address": gateways[name]["address"], "gw_type": "static"})
    users = []
    for index in range(random.randint(2, 7)):
        home = homes[0] if len(homes) == 1 or random.random() < 0.7 else homes[1]
        address = f"203.0.{homes.index(home)}.{index + 1}"
        users.append({"nai": f"u{index}@home.example", "home_address": address, "home_agent": home})
    network = {
        "site": "chaos",
        "classes": {"ef": {"dscp": "EF", "rate": "2mbit"}, "af41": {"dscp": "AF41", "rate": "5mbit"}},
        "domains": domains,
        "gateways": gateways,
        "aaa_servers": servers,
        "subscribers": users,
        "allow_encapsulation_only": True,
    }
    return network, rows


def _records(
    random: Random, nai: str, rows: list[dict[str, Any]], numbers: Iterator[int], kept: list[int] | None = None
) -> list[dict[str, Any]]:
    """Records of a user: none to three, to destinations that do not overlap, one of which may have no row."""
    found = []
    wanted = random.choice((0, 1, 1, 2, 2, 3))
    places = [row["cn"] for row in rows] + ["172.16.0.0/16"]
    numbered = list(kept or ())
    for place in random.sample(places, min(wanted, len(places))):
        own = random.random() < 0.6
        network = place.rsplit(".", 2)[0]
        record: dict[str, Any] = {
            "profile_number": numbered.pop() if numbered and random.random() < 0.8 else next(numbers),
            "nai": nai,
            "vpnshare": int(own),
            "destaddr": random.choice((place, f"{network}.{random.randint(0, 3)}.0/24", f"{network}.9.9")),
            "security": random.choice(("esp", "esp", "ah", "encapsulation")),
            "upclass": random.choice(("ef", "af41", "none")),
            "downclass": random.choice(("ef", "af41", "none")),
        }
        if own:
            record |= {
                "up_spi": 0x1000 + 2 * record["profile_number"],
                "down_spi": 0x1001 + 2 * record["profile_number"],
            }
        found.append(record)
    return found


def _secrets(tables: Tables) -> Secrets:
    numbers = [record.profile_number for record in tables.records]
    sla = {
        name: {
            "shared": {"psk": f"{gateway.number:02x}" * 32},
            "profiles": {str(number): {"psk": f"{gateway.number:032x}{number:032x}"} for number in numbers},
        }
        for name, gateway in tables.network.gateways.items()
        if Role.STATIC in gateway.roles
    }
    return Secrets.model_validate({"site_key": _KEY.hex(), "sla": sla})


def _actions(  # noqa: PLR0913 - what is drawn from
    random: Random,
    tables: Tables,
    rows: list[dict[str, Any]],
    numbers: Iterator[int],
    many: int,
    *,
    rough: bool,
) -> Iterator[Action]:
    users = sorted(tables.subscribers)
    agents = sorted(name for name, gateway in tables.network.gateways.items() if Role.FA in gateway.roles)
    mixed = any(len(gateway.roles) > 1 for gateway in tables.network.gateways.values())
    nodes = sorted(
        [name for name, gateway in tables.network.gateways.items() if Role.STATIC not in gateway.roles]
        + list(tables.network.aaa_servers)
    )
    at = 0
    for _ in range(many):
        # now close together, so that one event meets another, now far apart
        at += random.choice((0, 5, 20, 60, 200, 800, 3000))
        nai, kind = random.choice(users), random.random()
        if kind < 0.08:
            # to and fro between two, as at the border of two cells
            for agent in random.choices(agents, k=2) * 2:
                yield Action(at, "move", nai, agent)
                at += random.choice((10, 60, 150, 400))
        elif kind < 0.12:
            yield Action(at, "reboot", random.choice(nodes))
        elif kind < 0.5:
            yield Action(at, "move", nai, random.choice(agents))
        elif kind < 0.58:
            yield Action(at, "claim", nai, f"{random.choice(agents)} {random.choice(agents)}")
        elif kind < 0.68:
            yield Action(at, "refresh", nai)
        elif kind < 0.76:
            held = [record.profile_number for record in tables.vpn_database.get(nai, ())]
            drawn = _records(random, nai, rows, numbers, None if mixed else held)
            yield Action(
                at, "customise", nai, records=VpnDatabaseFile.model_validate({"vpn_database": drawn}).vpn_database
            )
        elif kind < 0.82:
            yield Action(at, "deregister", nai)
        elif kind < 0.85:
            yield Action(at, "vanish", nai)
        elif not rough:
            yield Action(at, "move", nai, random.choice(agents))
        elif kind < 0.92:
            node = random.choice(nodes)
            yield Action(at, "crash", node)
            yield Action(at + random.choice((1, 50, 500, 4000)), "restart", node)
        elif kind < 0.98:
            one, other = random.sample(nodes, 2) if len(nodes) > 1 else (nodes[0], nodes[0])
            yield Action(at, "cut", one, other)
            yield Action(at + random.choice((50, 500, 4000, 9000)), "heal", one, other)
        else:
            yield Action(at, "database down")
            yield Action(at + random.choice((50, 2000)), "database up")


# running


def world_of(history: History) -> World:
    """A fresh world for a history."""
    settings = SETTINGS._replace(order=history.order)
    options = Options(settings=settings, latency=4 * MILLISECOND, lifetime=LIFETIME, durable=True)
    return World(history.tables, derived(_KEY), options, history.seed, history.secrets)


def run(history: History, watch: Callable[[World], None] | None = None) -> Outcome:
    """Run a history to its end; the oracle is asked after every round, and when all has settled."""
    world = world_of(history)
    outcome = Outcome()
    if watch is not None:
        watch(world)
    for number, (faults, actions) in enumerate(history.rounds, 1):
        world.options.faults = faults
        start = world.now
        for action in actions:
            world.at(start + action.at * MILLISECOND, partial(act, world, action))
        world.run(start + max((action.at for action in actions), default=0) * MILLISECOND)
        outcome.differences = at_rest(world, faults, settled=False)
        outcome.when = f"after round {number}"
        if outcome.differences:
            break
    else:
        outcome.differences = at_rest(world, CALM, settled=True)
        outcome.when = "when all had settled"
    outcome.registrations, outcome.messages = world.registrations, world.messages
    return outcome


def at_rest(world: World, faults: Faults, *, settled: bool) -> list[str]:
    """End the faults, wait until nothing is under way, or until all has lapsed that will; what the oracle finds."""
    heal(world)
    # after losses a refresh must have gone round; without, only what is under way, and hand-off tunnels still stand
    quiet = LIFETIME // 2 + 6 if faults.loss else 1
    world.run(world.now + seconds(SETTINGS.authorization + 3 * LIFETIME if settled else quiet))
    _rest(world, lossy=faults.loss > 0)
    return differences(world, settled=settled)


def _rest(world: World, *, lossy: bool) -> None:
    """Terminals refresh all the time: wait for a moment when none does. If none comes, the oracle will tell."""
    for _ in range(1500):
        waits = any(mobile.waiting for mobile in world.mobiles.values()) or _busy(world)
        # who was switched off before he was answered has half a registration, which lapses
        if not waits and not (lossy and any(_bound(world, each) for each in world.mobiles.values() if each.at is None)):
            return
        world.run(world.now + 20 * MILLISECOND)


def _bound(world: World, mobile: Mobile) -> bool:
    """Whether any gateway still holds on to the user."""
    for node in world.nodes.values():
        binding = node.tables.get(NodeRole.HA, {}).get(mobile.nai)
        visitor = node.tables.get(NodeRole.FA, {}).get(mobile.nai)
        if binding is not None and binding.information is not None:
            return True
        if visitor is not None and visitor.serving is not None:
            return True
    return False


def _busy(world: World) -> bool:
    """Whether any node waits for another, or is about to forget what others forget within the same second."""
    now = world.now // MILLISECOND
    return any(
        _WAITS[role](entry, now)
        for node in world.nodes.values()
        for role, table in node.tables.items()
        for entry in table.values()
    )


_SAME = 1500


def _fa_waits(entry: Any, now: int) -> bool:  # noqa: ANN401 - a Visitor
    ends = entry.serving is not None and entry.expires - now < _SAME
    return ends or entry.registration is not None or any(each.again_at for each in entry.incoming)


_WAITS: dict[NodeRole, Callable[[Any, int], bool]] = {
    NodeRole.FA: _fa_waits,
    NodeRole.HA: lambda entry, _: entry.deferred is not None or bool(entry.posts),
    NodeRole.AAAH: lambda entry, _: entry.pending is not None,
    NodeRole.AAAF: lambda _, __: False,
    NodeRole.PCN: lambda _, __: False,
}


def act(world: World, action: Action) -> None:
    """Do one action; those that do not fit any more do nothing."""
    what, who, where = action.what, action.who, action.where
    if what == "move":
        world.move(who, where)
    elif what == "claim":
        at, claimed = where.split()
        world.register(who, at, names=claimed)
    elif what == "refresh":
        world.refresh(who)
    elif what == "customise":
        world.database[who] = action.records
        mobile = world.mobile(who)
        mobile.update = ServiceUpdate()
        world.refresh(who)
    elif what == "deregister":
        world.deregister(who)
    elif what == "vanish":
        world.vanish(who)
    elif what == "reboot":
        world.crash(who)
        world.restart(who)
    elif what == "crash":
        world.crash(who)
    elif what == "restart":
        world.restart(who)
    elif what == "cut":
        world.cut.add(frozenset((who, where)))
    elif what == "heal":
        world.cut.discard(frozenset((who, where)))
    else:
        world.database_up = what == "database up"


def heal(world: World) -> None:
    """The faults end."""
    world.options.faults = CALM
    world.cut.clear()
    world.database_up = True
    for name in sorted(world.down):
        world.restart(name)


# shrinking


def shrink(history: History, budget: int = 400) -> History:
    """A shorter history that still fails: rounds, then actions, then faults are left out (ddmin)."""
    left = [budget]

    def fails(candidate: History) -> bool:
        left[0] -= 1
        return left[0] >= 0 and bool(run(candidate).differences)

    for number in reversed(range(len(history.rounds))):
        fewer = replace(history, rounds=history.rounds[:number] + history.rounds[number + 1 :])
        if len(history.rounds) > 1 and fails(fewer):
            history = fewer
    for number in range(len(history.rounds)):
        for faults in (CALM, ROUGH):
            calmer = _with_round(history, number, faults, history.rounds[number][1])
            if history.rounds[number][0] not in (CALM, faults) and fails(calmer):
                history = calmer
                break
        history = _fewer_actions(history, number, fails)
    return history


def _fewer_actions(history: History, number: int, fails: Callable[[History], bool]) -> History:
    faults, actions = history.rounds[number]
    size = max(len(actions) // 2, 1)
    while True:
        start = 0
        while start < len(actions):
            fewer = actions[:start] + actions[start + size :]
            candidate = _with_round(history, number, faults, fewer)
            if fails(candidate):
                history, actions = candidate, fewer
            else:
                start += size
        if size == 1:
            return history
        size //= 2


def _with_round(history: History, number: int, faults: Faults, actions: tuple[Action, ...]) -> History:
    rounds = list(history.rounds)
    rounds[number] = (faults, actions)
    return replace(history, rounds=tuple(rounds))


def report(history: History, outcome: Outcome) -> str:
    """What a person needs to see and repeat a failure."""
    lines = [f"seed {history.seed}, {history.order}, {outcome.when}:"]
    lines += [f"  {each}" for each in outcome.differences[:20]]
    for number, (faults, actions) in enumerate(history.rounds, 1):
        lines.append(f"round {number}, {faults}:")
        lines += [f"  {action}" for action in actions]
    return "\n".join(lines)
