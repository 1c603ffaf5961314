"""What no single row can show: contradictions within and between the tables.

Each check yields findings; the loader places them at file and line. All are gathered, none stops the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.records import NO_CLASS
from roamvpn.tables.types import GwType, Keying, Role, Security, Share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from roamvpn.tables.network import Gateway, Network, Sla
    from roamvpn.tables.records import CnGwRow, PolicyTest, Session, VpnRecord
    from roamvpn.tables.secrets import Secrets, SlaKeys
    from roamvpn.tables.source import Path
    from roamvpn.tables.tables import Tables


class Finding(NamedTuple):
    """A problem at `path` of the document `file`.

    `absent` says that something else is not there; where rows were unreadable that may be their fault alone.
    """

    file: str
    path: Path
    value: object
    message: str
    severity: str = "error"
    absent: bool = False


NETWORK, DATABASE, CN_GW = "network.yml", "vpn_database.yml", "cn_gw_table.yml"
SESSIONS, POLICY_TESTS, SECRETS = "sessions.yml", "policy_tests.yml", "secrets.yml"


_NO_DOMAIN = "is not a domain of this network"
_NO_TENANT = "is not a tenant of this network"
_NO_HOME_AGENT = "is not a home agent"
_NO_GATEWAY = "is the address of no gateway of this network"
_NO_SERVICE_CLASS = "is not a service class of this network"
_NO_FOREIGN_AGENT = "is not a foreign agent"


def check_network(network: Network) -> Iterator[Finding]:
    """Names that exist, numbers and addresses that are unique, rates that fit."""
    yield from _names(network)
    yield from _unique_addresses(network)
    numbers: dict[int, str] = {}
    total = sum(service.rate for service in network.classes.values())
    for name, gateway in network.gateways.items():
        at = ("gateways", name)
        other = numbers.setdefault(gateway.number, name)
        if other != name:
            yield Finding(NETWORK, (*at, "number"), gateway.number, f"is already the number of {other}")
        if total > gateway.uplink.rate:
            message = f"the classes' rates ({total} kbit/s in all) exceed this uplink"
            yield Finding(NETWORK, (*at, "uplink", "rate"), f"{gateway.uplink.rate} kbit/s", message)
    marks: dict[int, str] = {}
    for name, service in network.classes.items():
        at = ("classes", name)
        if name == NO_CLASS:
            yield Finding(NETWORK, at, name, "is the word for no class (TOS 0)")
        if marks.setdefault(service.dscp, name) != name:
            yield Finding(NETWORK, (*at, "dscp"), service.dscp, f"is already the DSCP of {marks[service.dscp]}")
        if service.ceil is not None and service.ceil < service.rate:
            yield Finding(NETWORK, (*at, "ceil"), f"{service.ceil} kbit/s", "is below the class's rate")


def _names(network: Network) -> Iterator[Finding]:
    gateways = network.gateways
    for name, gateway in gateways.items():
        if gateway.domain not in network.domains:
            yield Finding(NETWORK, ("gateways", name, "domain"), gateway.domain, _NO_DOMAIN, absent=True)
        if gateway.sla is not None:
            yield from _sla(("gateways", name, "sla"), gateway.sla, gateways)
    for name, server in network.aaa_servers.items():
        if server.domain not in network.domains:
            yield Finding(NETWORK, ("aaa_servers", name, "domain"), server.domain, _NO_DOMAIN, absent=True)
        if name in gateways:
            yield Finding(NETWORK, ("aaa_servers", name), name, "is also the name of a gateway")
    yield from _subscribers(network)


def _sla(at: Path, sla: Sla, gateways: Mapping[str, Gateway]) -> Iterator[Finding]:
    if sla.keys == "generated":
        message = "a static gateway cannot learn a generated key; its keys are those of the SLA (G11)"
        yield Finding(NETWORK, (*at, "keys"), sla.keys, message)
    if not _has_role(gateways.get(sla.home_agent), Role.HA):
        yield Finding(NETWORK, (*at, "home_agent"), sla.home_agent, _NO_HOME_AGENT, absent=True)


def _subscribers(network: Network) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, user in enumerate(network.subscribers):
        if user.nai in seen:
            yield Finding(NETWORK, ("subscribers", index, "nai"), user.nai, "is a subscriber already")
        seen.add(user.nai)
        if user.tenant is not None and user.tenant not in network.tenants:
            yield Finding(NETWORK, ("subscribers", index, "tenant"), user.tenant, _NO_TENANT, absent=True)
        if not _has_role(network.gateways.get(user.home_agent), Role.HA):
            yield Finding(NETWORK, ("subscribers", index, "home_agent"), user.home_agent, _NO_HOME_AGENT, absent=True)


def _has_role(gateway: Gateway | None, role: Role) -> bool:
    return gateway is not None and role in gateway.roles


def _unique_addresses(network: Network) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    named: list[tuple[Path, str, str]] = []
    for name, gateway in network.gateways.items():
        named.append((("gateways", name, "address"), name, gateway.address))
        if gateway.management is not None:
            named.append((("gateways", name, "management"), name, gateway.management))
    for name, server in network.aaa_servers.items():
        named.append((("aaa_servers", name, "address"), name, server.address))
    for index, user in enumerate(network.subscribers):
        named.append((("subscribers", index, "home_address"), user.nai, user.home_address))
    for path, owner, address in named:
        other = owners.setdefault(address, owner)
        if other != owner:
            yield Finding(NETWORK, path, address, f"is already the address of {other}")
    homes = {
        name: [(net.first, net.mask) for net in gateway.home_networks] for name, gateway in network.gateways.items()
    }
    for index, user in enumerate(network.subscribers):
        nets = homes.get(user.home_agent)
        if nets is None:
            continue
        a, b, c, d = user.home_address.split(".")
        value = int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
        if not any(value & mask == first for first, mask in nets):
            at = ("subscribers", index, "home_address")
            yield Finding(NETWORK, at, user.home_address, f"lies in no home network of {user.home_agent}")


def check_cn_gw_table(rows: Iterable[CnGwRow], tables: Tables) -> Iterator[Finding]:
    """Keys that are unique within a tenant, gateways that exist and are of the row's type."""
    rows = tuple(rows)
    yield from _one_space_a_gateway(rows)
    keys: dict[tuple[str | None, int, int], CnGwRow] = {}
    for index, row in enumerate(rows):
        at = ("cn_gw_table", index)
        first = keys.setdefault((row.tenant, row.cn.length, row.cn.first), row)
        if first is not row:
            same = first.gw_address == row.gw_address
            message = "stands twice" if same else f"stands already, with the other gateway {first.gw_address}"
            yield Finding(CN_GW, (*at, "cn"), row.cn.text, message)
        if row.tenant is not None and row.tenant not in tables.network.tenants:
            yield Finding(CN_GW, (*at, "tenant"), row.tenant, _NO_TENANT, absent=True)
        name = tables.gateway_at(row.gw_address)
        if name is None:
            yield Finding(CN_GW, (*at, "gw_address"), row.gw_address, _NO_GATEWAY, absent=True)
            continue
        wanted = Role.STATIC if row.gw_type is GwType.STATIC else Role.PCN
        if wanted not in tables.gateway(name).roles:
            message = f"contradicts network.yml: {name} has no role {wanted}"
            yield Finding(CN_GW, (*at, "gw_type"), row.gw_type, message)


def _one_space_a_gateway(rows: Iterable[CnGwRow]) -> Iterator[Finding]:
    """A gateway has one route for an address: prefixes of different tenants behind it must not overlap."""
    behind: dict[str, list[tuple[int, int, int, CnGwRow]]] = {}
    for index, row in enumerate(rows):
        if row.tenant is not None:
            behind.setdefault(row.gw_address, []).append((row.cn.first, row.cn.length, index, row))
    for listed in behind.values():
        open_rows: list[CnGwRow] = []
        for _first, _length, index, row in sorted(listed, key=lambda entry: entry[:3]):
            # sorted so, whatever contains a prefix comes before it and is still open
            open_rows = [other for other in open_rows if other.cn.contains(row.cn)]
            for other in open_rows:
                if other.tenant != row.tenant:
                    message = f"overlaps {other.cn.text} of tenant {other.tenant} behind the same gateway"
                    yield Finding(CN_GW, ("cn_gw_table", index, "cn"), row.cn.text, message)
            open_rows.append(row)


def check_vpn_database(tables: Tables) -> Iterator[Finding]:
    """Every record against network and CN-GW table; SPIs against each other, receiver by receiver."""
    numbers: set[int] = set()
    selectors: dict[tuple[str, str], int] = {}
    receivers: dict[tuple[str, Security, int], str] = {}
    for name, gateway in tables.network.gateways.items():
        if gateway.sla is not None and gateway.sla.up_spi and gateway.sla.down_spi:
            receivers[name, Security.ESP, gateway.sla.up_spi] = f"the SLA of {name}"
            receivers[gateway.sla.home_agent, Security.ESP, gateway.sla.down_spi] = f"the SLA of {name}"
    for index, record in enumerate(tables.records):
        at = ("vpn_database", index)
        if record.profile_number in numbers:
            yield Finding(
                DATABASE, (*at, "profile_number"), record.profile_number, "stands twice; it must be unique (B1)"
            )
        numbers.add(record.profile_number)
        for direction in ("upclass", "downclass"):
            service = getattr(record, direction)
            if service not in (None, NO_CLASS) and service not in tables.network.classes:
                yield Finding(DATABASE, (*at, direction), service, _NO_SERVICE_CLASS, absent=True)
        if record.security is Security.ENCAPSULATION and not tables.network.allow_encapsulation_only:
            message = "sends in clear; set allow_encapsulation_only in network.yml if that is meant"
            yield Finding(DATABASE, (*at, "security"), record.security, message)
        other = selectors.setdefault((record.nai, record.destaddr.text), record.profile_number)
        if other != record.profile_number:
            yield Finding(
                DATABASE, (*at, "destaddr"), record.destaddr.text, f"profile {other} has this destination already"
            )
        if record.nai not in tables.subscribers:
            yield Finding(DATABASE, (*at, "nai"), record.nai, "is not a subscriber of this network", absent=True)
            continue
        yield from _check_destination(record, at, tables, receivers)


def _check_destination(
    record: VpnRecord, at: Path, tables: Tables, receivers: dict[tuple[str, Security, int], str]
) -> Iterator[Finding]:
    user = tables.subscribers[record.nai]
    row = tables.cn_gw_table.lookup(record.destaddr, user.tenant)
    if row is None:
        wider = tables.cn_gw_table.touching(record.destaddr, user.tenant)
        if wider is not None:
            message = f"lies outside its CN-GW row {wider.cn.text}; it is never widened or cut (G17)"
            yield Finding(DATABASE, (*at, "destaddr"), record.destaddr.text, message, absent=True)
        else:
            message = "has no CN-GW row; this profile is rejected, the others go on (G25)"
            yield Finding(DATABASE, (*at, "destaddr"), record.destaddr.text, message, "warning", absent=True)
        return
    gateway = tables.gateway_at(row.gw_address)
    if gateway is None:
        return
    sla = tables.gateway(gateway).sla
    if sla is not None and sla.home_agent != user.home_agent:
        message = f"{gateway} has its SLA with {sla.home_agent}, but the user's home agent is {user.home_agent}"
        yield Finding(DATABASE, (*at, "destaddr"), record.destaddr.text, message)
    if sla is not None and sla.keying is Keying.STATIC and record.share is Share.SHARED and sla.up_spi is None:
        message = f"a shared association keyed by hand needs sla.up_spi and sla.down_spi of {gateway}"
        yield Finding(DATABASE, (*at, "vpnshare"), record.vpnshare, message)
    if record.share is Share.OWN and record.security is not Security.ENCAPSULATION:
        up, down = ("up_spi", record.up_spi or 0), ("down_spi", record.down_spi or 0)
        # who receives what: up at the home agent and the correspondent's gateway, down at the home agent
        uses = [(gateway, *up), (user.home_agent, *up), (user.home_agent, *down)] if sla else [(gateway, *up)]
        for receiver, name, spi in uses:
            mine = f"profile {record.profile_number} ({name})"
            other = receivers.setdefault((receiver, record.security, spi), mine)
            if other != mine:
                yield Finding(DATABASE, (*at, name), hex(spi), f"collides at its receiver {receiver} with {other}")


def check_sessions(sessions: Iterable[Session], tables: Tables) -> Iterator[Finding]:
    """Users and foreign agents that exist; one session a user; SPIs that differ at one foreign agent."""
    ids: set[str] = set()
    users: set[str] = set()
    receivers: dict[tuple[str, Security, int], int] = {}
    for index, session in enumerate(sessions):
        at = ("sessions", index)
        if session.session_id in ids:
            yield Finding(SESSIONS, (*at, "session_id"), session.session_id, "stands twice; it must be unique (B10)")
        ids.add(session.session_id)
        if session.nai in users:
            yield Finding(SESSIONS, (*at, "nai"), session.nai, "has a session already")
        users.add(session.nai)
        if session.nai not in tables.subscribers:
            yield Finding(SESSIONS, (*at, "nai"), session.nai, "is not a subscriber of this network", absent=True)
        agent = tables.network.gateways.get(session.foreign_agent)
        if agent is None or Role.FA not in agent.roles:
            yield Finding(SESSIONS, (*at, "foreign_agent"), session.foreign_agent, _NO_FOREIGN_AGENT, absent=True)
        for record in tables.vpn_database.get(session.nai, ()):
            if record.share is Share.OWN and record.security is not Security.ENCAPSULATION:
                key = (session.foreign_agent, record.security, record.down_spi or 0)
                other = receivers.setdefault(key, record.profile_number)
                if other != record.profile_number:
                    mine = f"down_spi {record.down_spi:#x} of profile {record.profile_number}"
                    message = f"{mine} collides there with profile {other}"
                    yield Finding(SESSIONS, (*at, "foreign_agent"), session.foreign_agent, message)


def check_policy_tests(tests: Iterable[PolicyTest], tables: Tables) -> Iterator[Finding]:
    """Names that the assertions use."""
    for index, test in enumerate(tests):
        at = ("policy_tests", index)
        if test.user not in tables.subscribers:
            yield Finding(POLICY_TESTS, (*at, "user"), test.user, "is not a subscriber of this network", absent=True)
        agent = tables.network.gateways.get(test.at)
        if agent is None or Role.FA not in agent.roles:
            yield Finding(POLICY_TESTS, (*at, "at"), test.at, _NO_FOREIGN_AGENT, absent=True)


def check_secrets(secrets: Secrets, tables: Tables) -> Iterator[Finding]:
    """Every association of an SLA that the database uses has its keys."""
    for name in secrets.sla:
        gateway = tables.network.gateways.get(name)
        if gateway is None or gateway.sla is None:
            yield Finding(SECRETS, ("sla", name), name, "is not a static gateway of this network", absent=True)
    missing: set[tuple[str, ...]] = set()
    for record in tables.records:
        user = tables.subscribers.get(record.nai)
        row = tables.cn_gw_table.lookup(record.destaddr, user.tenant) if user else None
        static = tables.gateway_at(row.gw_address) if row else None
        sla = tables.gateway(static).sla if static else None
        if static is None or sla is None or record.security is Security.ENCAPSULATION:
            continue
        known = secrets.sla.get(static)
        keys: SlaKeys | None
        if record.share is Share.OWN:
            at: tuple[str, ...] = ("sla", static, "profiles", str(record.profile_number))
            keys = known.profiles.get(str(record.profile_number)) if known else None
        else:
            at = ("sla", static, "shared")
            keys = known.shared if known else None
        wanted = "psk" if sla.keying is Keying.IKE else "up_encryption"
        if at not in missing and (keys is None or getattr(keys, wanted) is None):
            missing.add(at)
            kind = "a psk" if sla.keying is Keying.IKE else "four keys"
            yield Finding(SECRETS, at, "", f"the SLA of {static} needs {kind} here")
