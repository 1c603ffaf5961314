"""The seed's three tables, read off a gateway's state: IPsec information (Fig 15), routes (Fig 16), QoS filters.

They are derived and never stored: units are what comes and goes, tables are how people read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.policy import naming
from roamvpn.tables.gateway_state import EspInfo, IpsecInfo, QosFilter, Route, TunnelInfo, Unit
from roamvpn.tables.types import Keying, Security

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.tables.gateway_state import GatewayState

ENCODE, DECODE = "encode", "decode"
_HMAC_BITS, _AEAD_BITS = 256, 256


class IpsecInformation(NamedTuple):
    """The IPsec information table of one gateway: three lists joined by identifiers (B12 to B15)."""

    ipsec: tuple[IpsecInfo, ...]
    esp: tuple[EspInfo, ...]
    tunnels: tuple[TunnelInfo, ...]


def ipsec_information(state: GatewayState) -> IpsecInformation:
    """Rows for sending and, for the opposite direction, for decoding. Shared rows stand once (B15)."""
    ipsec, esp, tunnels = [], {}, {}
    for leg in sorted(state.legs.values()):
        carrier: Unit = leg if leg.has_association else state.peers[naming.peer_name(leg.security, leg.peer)]
        # the near end of a hand-off tunnel sends nothing back
        for direction in (ENCODE, DECODE) if leg.handle is not None else (DECODE,):
            tunnel = _tunnel(carrier, direction)
            protection = _protection(carrier, direction)
            tunnels[tunnel.identifier] = tunnel
            if protection is not None:
                esp[protection.identifier] = protection
            ends = (leg.source, leg.destination) if direction == ENCODE else (leg.destination, leg.source)
            identifier = protection.identifier if protection is not None else None
            ipsec.append(IpsecInfo(*ends, tunnel.destination_address, tunnel.identifier, identifier))
    return IpsecInformation(tuple(ipsec), tuple(esp.values()), tuple(tunnels.values()))


def _tunnel(carrier: Unit, direction: str) -> TunnelInfo:
    ends = (carrier.local_address, carrier.peer_address)
    source, destination = ends if direction == ENCODE else ends[::-1]
    method = "ipip" if carrier.security is Security.ENCAPSULATION else f"{carrier.security} tunnel"
    # users' own associations lie between the same outer addresses: one tunnel row serves them all
    return TunnelInfo(f"{method} {source}>{destination}", method, direction, source, destination)


def _protection(carrier: Unit, direction: str) -> EspInfo | None:
    """S229: none where neither AH nor ESP is asked. Key lengths of the default proposals, in bits."""
    if carrier.security is Security.ENCAPSULATION:
        return None
    identifier = f"{carrier.name} {direction}"
    if carrier.security is Security.AH:
        return EspInfo(identifier, "none", direction, _HMAC_BITS, 0, 0)
    if carrier.keying is Keying.STATIC:
        return EspInfo(identifier, "cbc(aes)", direction, 0, _HMAC_BITS, _AEAD_BITS)
    return EspInfo(identifier, "ike proposal", direction, 0, 0, _AEAD_BITS)


def routes(state: GatewayState) -> tuple[Route, ...]:
    """What a mark leads to, fail closed, and the host routes of visitors (B16, S227)."""
    found: set[Route] = set()
    for device, mark in {(unit.device, unit.mark) for unit in state.units.values()}:
        found.add(Route("0.0.0.0/0", None, 0, device, mark))
        found.add(Route("0.0.0.0/0", None, naming.UNREACHABLE_METRIC, None, mark, "prohibit"))
    found.update(
        Route(leg.source, None, 0, leg.visitor, naming.VISITORS_TABLE) for leg in state.legs.values() if leg.visitor
    )
    return tuple(sorted(found, key=lambda route: (route.table, route.destination, route.metric)))


def qos_filters(state: GatewayState) -> tuple[QosFilter, ...]:
    """DS filters in the order in which the classifier tries them (D15)."""
    rows = [
        QosFilter(leg.source, leg.destination, leg.dscp, leg.mark, leg.handle, leg.priority)
        for leg in state.legs.values()
        if leg.handle is not None
    ]
    return tuple(sorted(rows, key=lambda row: (row.priority, row.handle)))


def tables(state: GatewayState) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Every table as (title, headings, rows of text), for people."""
    information = ipsec_information(state)
    for title, kind, rows in (
        ("IPsec information", IpsecInfo, information.ipsec),
        ("ESP information", EspInfo, information.esp),
        ("tunnel information", TunnelInfo, information.tunnels),
        ("routes", Route, routes(state)),
        ("QoS filters", QosFilter, qos_filters(state)),
    ):
        texts = [tuple("-" if cell is None else str(cell) for cell in row) for row in rows]
        yield title, kind._fields, texts
