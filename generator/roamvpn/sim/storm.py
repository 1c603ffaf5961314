"""A train enters a station: thousands of users move within seconds, and nodes queue."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from roamvpn.policy.keys import derived
from roamvpn.signalling.settings import Settings
from roamvpn.sim.mobile import SECOND
from roamvpn.sim.options import MILLISECOND, Costs, Options
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import World
from roamvpn.tables.network import Network
from roamvpn.tables.records import CnGwTableFile, VpnDatabaseFile
from roamvpn.tables.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.signalling.messages import RegRep
    from roamvpn.sim.mobile import Mobile

COSTS = Costs(event=100, leg=350, association=2500)
"""Measured: a message 0.1 ms; a leg 0.12 ms each for charon's connection and secret and 0.11 ms for its tc filter; an
IKE_SA with its CHILD_SA 2.5 ms until it is up."""
_TRAIN, _STATION, _OTHER, _HOMES, _PCNS = 4, 8, 4, 4, 6
_LIFETIME = 3600
_CROSS = 0.2
"""How many users change to the other operator at the station."""


class Work(NamedTuple):
    """What one node did in the storm. `busy` is its share of the time until the last user was served."""

    node: str
    roles: str
    events: int
    legs_set: int
    legs_deleted: int
    busy: float
    deepest: int


@dataclass(frozen=True)
class StormReport:
    """What a storm came to. Latencies in ms, from a user's first request to the reply that he was waiting for."""

    users: int
    seconds: float
    served: int
    within_domain: int
    asked_again: int
    refused: int
    p50: float
    p90: float
    p99: float
    longest: float
    last_served: float
    messages: int
    nodes: tuple[Work, ...]
    differences: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "nodes": [work._asdict() for work in self.nodes], "differences": [*self.differences]}

    def sentences(self) -> list[str]:
        """What a person wants to know first."""
        rate, within = self.users / self.seconds, self.within_domain
        waits = (
            f"half {self.p50:.0f} ms, 90 % {self.p90:.0f} ms, 99 % {self.p99:.0f} ms, the last {self.longest:.0f} ms"
        )
        again = f"asked again {self.asked_again} times, refused {self.refused} times"
        messages = self.messages / max(self.users, 1)
        return [
            f"{self.users} users in {self.seconds:g} s ({rate:.0f} moves a second), {within} of them within the domain",
            f"answered after: {waits}",
            f"all served after {self.last_served:.2f} s; {again}; {messages:.1f} messages a move",
        ]

    def table(self) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
        """The nodes' work as title, headings and rows."""
        heads = ("node", "roles", "events", "legs set", "deleted", "busy", "deepest queue")
        rows: list[tuple[str, ...]] = [
            (
                work.node,
                work.roles,
                f"{work.events:,}",
                f"{work.legs_set:,}",
                f"{work.legs_deleted:,}",
                f"{work.busy:.0%}",
                f"{work.deepest:,}",
            )
            for work in self.nodes
        ]
        return "work by node", heads, rows


def storm(
    users: int,
    seconds: float,
    seed: int = 0,
    costs: Costs = COSTS,
    progress: Callable[[str], None] | None = None,
) -> StormReport:
    """Run the storm; the same arguments give the same report. `progress` is called for each user served."""
    random = Random(seed)  # noqa: S311 - a simulation, and it must repeat
    tables = _tables(users)
    world = World(tables, derived(bytes(32)), Options(settings=Settings(max_lifetime=_LIFETIME), lifetime=_LIFETIME))
    everybody = sorted(tables.subscribers)
    for index, nai in enumerate(everybody):
        world.register(nai, f"train{index % _TRAIN}")
    world.run(10 * SECOND)
    _reset(world)
    world.options.costs = costs
    start = world.now
    served: dict[str, int] = {}
    codes = [0]

    def answered(mobile: Mobile, reply: RegRep) -> None:
        codes[0] += reply.code != 0
        if not mobile.waiting and mobile.nai not in served:
            served[mobile.nai] = world.now
            if progress is not None:
                progress(mobile.nai)

    world.answered = answered
    crossing = {nai for nai in everybody if random.random() < _CROSS}
    for nai in everybody:
        at = start + random.randrange(int(seconds * SECOND) + 1)
        where = f"other{random.randrange(_OTHER)}" if nai in crossing else f"station{random.randrange(_STATION)}"
        world.at(at, partial(world.move, nai, where))
    while len(served) < users and world.now < start + _LIFETIME // 4 * SECOND:
        world.run(world.now + 100 * MILLISECOND)
    works = _works(world, max(served.values(), default=world.now) - start)
    messages, registrations = world.messages, world.registrations
    world.options.costs = Costs()
    # what still waits is worked off before the oracle is asked; hand-off tunnels may stand
    world.run(world.now + 30 * SECOND)
    waits = sorted((served[nai] - world.mobile(nai).first_asked_at) / MILLISECOND for nai in served)
    return StormReport(
        users=users,
        seconds=seconds,
        served=len(served),
        within_domain=users - len(crossing),
        asked_again=registrations - users,
        refused=codes[0],
        p50=_percentile(waits, 50),
        p90=_percentile(waits, 90),
        p99=_percentile(waits, 99),
        longest=_percentile(waits, 100),
        last_served=(max(served.values(), default=start) - start) / SECOND,
        messages=messages,
        nodes=works,
        differences=tuple(differences(world, settled=False)),
    )


def _reset(world: World) -> None:
    world.messages = world.registrations = 0
    for name in world.loads:
        world.loads[name] = type(world.loads[name])()


def _works(world: World, took: int) -> tuple[Work, ...]:
    works = []
    for name, load in world.loads.items():
        roles = "/".join(role.upper() for role in world.nodes[name].machines)
        if load.events:
            busy = load.busy / max(took, 1)
            works.append(Work(name, roles, load.events, load.legs_set, load.legs_deleted, busy, load.deepest))
    return tuple(sorted(works, key=lambda work: (-work.busy, work.node)))


def _percentile(ordered: list[float], percent: int) -> float:
    """The smallest value that so many percent do not exceed."""
    if not ordered:
        return 0.0
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]


def _tables(users: int) -> Tables:
    """Trackside and station of one operator, another operator at the station, homes, correspondents, an enterprise."""
    gateways: dict[str, dict[str, Any]] = {}

    def gateway(name: str, domain: str, role: str, **more: object) -> str:
        number = len(gateways) + 1
        address = f"192.0.2.{number}"
        uplink = {"interface": "wan", "rate": "10gbit"}
        basic = {"number": number, "domain": domain, "roles": [role], "address": address, "uplink": uplink}
        gateways[name] = {**basic, "access": ["lan"], **more}
        return address

    for index in range(_TRAIN):
        gateway(f"train{index}", "rail", "fa")
    for index in range(_STATION):
        gateway(f"station{index}", "rail", "fa")
    for index in range(_OTHER):
        gateway(f"other{index}", "city", "fa")
    for index in range(_HOMES):
        gateway(f"ha{index}", "home", "ha", home_networks=[f"100.{64 + index}.0.0/16"])
    rows = [
        {"cn": f"10.{index}.0.0/16", "gw_address": gateway(f"pcn{index}", "far", "pcn"), "gw_type": "dynamic"}
        for index in range(_PCNS)
    ]
    enterprise = gateway("gw", "firm", "static", sla={"home_agent": "ha0"})
    rows.append({"cn": "10.100.0.0/16", "gw_address": enterprise, "gw_type": "static"})
    subscribers, records = [], []
    for index in range(users):
        home, place = index % _HOMES, index // _HOMES
        nai = f"user{index}@home.example"
        address = f"100.{64 + home}.{place >> 8}.{place & 255}"
        subscribers.append({"nai": nai, "home_address": address, "home_agent": f"ha{home}"})
        # those of the first home agent go to the enterprise; every fourth leans on what gateways share
        destination = "10.100.0.0/16" if home == 0 else f"10.{index % _PCNS}.0.0/16"
        own = index % 16 < 12
        record: dict[str, Any] = {
            "profile_number": index + 1,
            "nai": nai,
            "vpnshare": int(own),
            "destaddr": destination,
        }
        record |= {"upclass": "ef", "downclass": "ef"}
        if own:
            record |= {"up_spi": 0x1000 + 2 * index, "down_spi": 0x1001 + 2 * index}
        records.append(record)
    network = {
        "site": "station",
        "classes": {"ef": {"dscp": "EF", "rate": "2mbit"}},
        "domains": {name: {"realm": f"{name}.example"} for name in ("rail", "city", "home", "far", "firm")},
        "gateways": gateways,
        "aaa_servers": {
            "aaaf-rail": {"domain": "rail", "role": "foreign", "address": "192.0.2.251"},
            "aaaf-city": {"domain": "city", "role": "foreign", "address": "192.0.2.252"},
            "aaah": {"domain": "home", "role": "home", "address": "192.0.2.253"},
        },
        "subscribers": subscribers,
    }
    return Tables(
        Network.model_validate(network),
        VpnDatabaseFile.model_validate({"vpn_database": records}).vpn_database,
        CnGwTableFile.model_validate({"cn_gw_table": rows}).cn_gw_table,
    )
