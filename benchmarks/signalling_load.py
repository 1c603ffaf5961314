"""A network for signalling at full load, and a pump that carries messages between its machines in one process.

The pump has no clock, no links and no faults of its own: what it costs is what the machines cost, and little more.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

from roamvpn.policy.compile import Compiler, Decider, add
from roamvpn.policy.keys import derived
from roamvpn.policy.legs import LegCompiler
from roamvpn.signalling.aaaf import Aaaf
from roamvpn.signalling.aaah import Aaah
from roamvpn.signalling.directory import Directory
from roamvpn.signalling.effects import Apply, Search, Send, Store, Wake
from roamvpn.signalling.fa import Fa
from roamvpn.signalling.ha import Ha
from roamvpn.signalling.machine import Surroundings
from roamvpn.signalling.messages import Address, Applied, Code, Found, NodeRole, RegRep, RegReq, Timer
from roamvpn.signalling.node import Node
from roamvpn.signalling.pcn import Pcn
from roamvpn.signalling.settings import MS, Settings
from roamvpn.tables.gateway_state import GatewayState
from roamvpn.tables.network import Network
from roamvpn.tables.records import CnGwTableFile, VpnDatabaseFile
from roamvpn.tables.secrets import ProfileKeys, Secret, Secrets, SlaKeys, SlaSecrets
from roamvpn.tables.tables import Tables
from roamvpn.tables.types import Role

if TYPE_CHECKING:
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.machine import Machine
    from roamvpn.signalling.messages import Event
    from roamvpn.tables.records import VpnRecord

DOMAINS, AGENTS, CORRESPONDENTS = 4, 4, 4
"""Visited domains, foreign agents of each, PCNs."""
AAAH, HOME, STATIC = "aaah", "ha", "static"
LIFETIME = 1_000_000
"""So long that nothing lapses while it is measured."""
_KEY = bytes(range(32))


def agent(domain: int, index: int) -> str:
    """The name of a foreign agent; both numbers go round."""
    return f"fa{domain % DOMAINS}-{index % AGENTS}"


def nai(number: int) -> str:
    """A user's name. Those with even numbers have a dynamic VPN, the others a static one; own ESP both."""
    return f"user{number}@home.example"


def _network(users: int) -> Network:
    gateways: dict[str, Any] = {}
    servers = {AAAH: {"domain": "home", "role": "home", "address": "192.0.2.250"}}

    def gateway(name: str, domain: str, role: str, **more: object) -> None:
        number = len(gateways) + 1
        gateways[name] = {
            "number": number,
            "domain": domain,
            "roles": [role],
            "address": f"192.0.2.{number}",
            "uplink": {"interface": "wan", "rate": "10gbit"},
            "access": ["lan"],
            **more,
        }

    for domain in range(DOMAINS):
        servers[f"aaaf{domain}"] = {
            "domain": f"visited{domain}",
            "role": "foreign",
            "address": f"192.0.2.{240 + domain}",
        }
        for index in range(AGENTS):
            gateway(agent(domain, index), f"visited{domain}", "fa")
    gateway(HOME, "home", "ha", home_networks=["100.64.0.0/10"])
    for index in range(CORRESPONDENTS):
        gateway(f"pcn{index}", "firm", "pcn")
    gateway(STATIC, "firm", "static", sla={"home_agent": HOME})
    domains = ["home", "firm", *(f"visited{domain}" for domain in range(DOMAINS))]
    subscribers = [
        {
            "nai": nai(user),
            "home_address": f"100.{64 + (user >> 16)}.{user >> 8 & 255}.{user & 255}",
            "home_agent": HOME,
        }
        for user in range(1, users + 1)
    ]
    return Network.model_validate(
        {
            "site": "benchmark",
            "classes": {"ef": {"dscp": "EF", "rate": "2mbit"}, "af41": {"dscp": "AF41", "rate": "5mbit"}},
            "domains": {name: {"realm": f"{name}.example"} for name in domains},
            "gateways": gateways,
            "aaa_servers": servers,
            "subscribers": subscribers,
        }
    )


def tables(users: int) -> tuple[Tables, Secrets]:
    """The tables of a network with that many users, and the keys of its SLA."""
    network = _network(users)
    records = [
        {
            "profile_number": user,
            "nai": nai(user),
            "vpnshare": 1,
            "destaddr": "10.100.0.0/16" if user % 2 else f"10.{user // 2 % CORRESPONDENTS}.0.0/16",
            "upclass": "ef",
            "downclass": "af41",
            "up_spi": 0x1000 + 2 * user,
            "down_spi": 0x1001 + 2 * user,
        }
        for user in range(1, users + 1)
    ]
    rows = [
        {"cn": f"10.{index}.0.0/16", "gw_address": network.gateways[f"pcn{index}"].address, "gw_type": "dynamic"}
        for index in range(CORRESPONDENTS)
    ]
    rows.append({"cn": "10.100.0.0/16", "gw_address": network.gateways[STATIC].address, "gw_type": "static"})
    found = Tables(
        network,
        VpnDatabaseFile.model_validate({"vpn_database": records}).vpn_database,
        CnGwTableFile.model_validate({"cn_gw_table": rows}).cn_gw_table,
    )
    # checked is one key; a hundred thousand of them need not be
    profiles = {str(user): SlaKeys.of(ProfileKeys(psk=Secret(user.to_bytes(32)))) for user in range(1, users + 1, 2)}
    sla = SlaSecrets.model_construct(shared=SlaKeys.of(ProfileKeys(psk=Secret(_KEY))), profiles=profiles)
    return found, Secrets.model_construct(site_key=Secret(_KEY), sla={STATIC: sla})


class Pump:
    """All nodes of a network, and a queue between them. Messages are counted, and what nodes want kept, if asked."""

    def __init__(self, found: Tables, secrets: Secrets) -> None:
        self.messages = 0
        self.now = 0
        self.stores: dict[str, list[Store]] | None = None
        self._seq = 0
        self._answered: dict[str, int] = {}
        self._queue: deque[tuple[Address, Event]] = deque()
        self._wakes: list[tuple[int, int, Address, Timer]] = []
        self._order = count()
        self._database: dict[str, tuple[VpnRecord, ...]] = {n: tuple(r) for n, r in found.vpn_database.items()}
        self._provisioned: dict[str, list[Any]] = {}
        entropy = derived(_KEY)
        directory, legs = Directory(found.network), LegCompiler(found.network)
        states = {name: GatewayState(name) for name in found.network.gateways}
        for contribution in Compiler(found, secrets, entropy).provisioned():
            add(states[contribution.gateway], contribution)
        settings = Settings(max_lifetime=LIFETIME, authorization=LIFETIME)
        self.nodes: dict[str, Node] = {}
        for name in (*found.network.aaa_servers, *found.network.gateways):
            here = Surroundings(name, directory, legs, settings)
            machines: list[Machine[Any]]
            if name == AAAH:
                machines = [Aaah(here, Decider(found, secrets, entropy), entropy)]
            elif name in found.network.aaa_servers:
                machines = [Aaaf(here)]
            else:
                (role,) = found.network.gateways[name].roles
                kinds: dict[Role, list[Machine[Any]]] = {
                    Role.FA: [Fa(here, entropy)],
                    Role.HA: [Ha(here)],
                    Role.PCN: [Pcn(here)],
                }
                machines = kinds.get(role, [])
            self.nodes[name] = Node(name, machines, states.get(name))

    def register(self, user: str, at: str, old: str | None = None, lifetime: int = LIFETIME) -> None:
        """One registration, from the mobile's request to its reply."""
        self._seq += 1
        request = RegReq(user, self._seq, HOME, lifetime, old, answered=self._answered.get(user, 0))
        self._queue.append((Address(NodeRole.FA, at), request))
        self.messages += 1
        replies = self._run()
        # a benchmark of refusals would be a quick one
        assert replies == [Code.ACCEPTED], (user, replies)
        self._answered[user] = self._seq

    def _run(self) -> list[Code]:
        queue, nodes, now = self._queue, self.nodes, self.now
        replies: list[Code] = []
        while queue:
            to, event = queue.popleft()
            for effect in nodes[to.name].receive(to.role, event, now):
                if type(effect) is Send:
                    self.messages += 1
                    if effect.to.role is NodeRole.MN:
                        assert isinstance(effect.message, RegRep)
                        replies.append(effect.message.code)
                    else:
                        queue.append((effect.to, effect.message))
                elif type(effect) is Apply:
                    if effect.wait:
                        queue.append((to, Applied(effect.nai, effect.seq)))
                elif type(effect) is Store:
                    if self.stores is not None:
                        self.stores[to.name].append(effect)
                else:
                    self._other(to, effect)
        return replies

    def _other(self, here: Address, effect: Effect) -> None:
        if isinstance(effect, Wake):
            heappush(self._wakes, (effect.at, next(self._order), here, Timer(effect.key)))
        elif isinstance(effect, Search):
            self._queue.append((here, Found(effect.nai, effect.seq, self._database[effect.nai])))
        else:
            raise TypeError(effect)

    def elapse(self, seconds: int) -> int:
        """Let time go by; returns how many timers rang, after which hand-off tunnels are gone."""
        self.now += seconds * MS
        rang = 0
        while self._wakes and self._wakes[0][0] <= self.now:
            _, _, to, timer = heappop(self._wakes)
            self._queue.append((to, timer))
            self._run()
            rang += 1
        return rang
