"""Gateway state: what one gateway must run, as the seed's three tables and the units that files are made of.

A unit is the smallest thing that comes and goes by itself: a `Leg` (one user's VPN at this gateway) or
a `Peer` (what the gateway shares with another one). Each carries a digest of its content.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.types import Keying, Security, Share

if TYPE_CHECKING:
    from roamvpn.tables.secrets import ProfileKeys

BASE, SESSION = "base", "session"
"""The two owners of a unit: the playbooks' part and the agent's part."""


class Leg(NamedTuple):
    """One VPN of one user as one gateway runs it: sends `source`→`destination`, decodes the opposite.

    SPIs are those of the record (0: default), `*_length` prefix lengths, `dscp` None for TOS 0. A leg without
    a `handle` only decodes: the near end of a hand-off tunnel.
    """

    name: str
    owner: str
    nai: str
    profile_number: int
    flow: str
    direction: str
    gateway: str
    peer: str
    local_address: str
    peer_address: str
    source: str
    source_length: int
    destination: str
    destination_length: int
    security: Security
    share: Share
    keying: Keying
    service_class: str | None
    dscp: int | None
    device: str
    mark: int
    out_spi: int
    in_spi: int
    initiate: bool
    visitor: str | None
    handle: int | None
    priority: int
    back_priority: int

    def digest(self, key: bytes = b"") -> str:
        """32 hexadecimal digits that change with any field, and with `key`."""
        return _digest(self, key)

    @property
    def hand_off(self) -> bool:
        """Whether the leg is an end of a hand-off tunnel, whose flow has a name of its own."""
        return self.flow.startswith("h")

    @property
    def has_association(self) -> bool:
        """Whether the leg has a security association, and so a secret, of its own."""
        return self.share is Share.OWN and self.security is not Security.ENCAPSULATION


class Peer(NamedTuple):
    """What a gateway shares with a peer: a virtual device and, unless encapsulation only, one association.

    `sla` is the static gateway whose SLA holds the keys, or None where certificates do.
    """

    name: str
    owner: str
    gateway: str
    peer: str
    local_address: str
    peer_address: str
    local_identity: str
    peer_identity: str
    security: Security
    keying: Keying
    sla: str | None
    device: str
    mark: int
    out_spi: int
    in_spi: int
    direction: str
    initiate: bool
    associated: bool

    def digest(self, key: bytes = b"") -> str:
        """32 hexadecimal digits that change with any field, and with `key`."""
        return _digest(self, key)


Unit = Leg | Peer


def _digest(row: tuple[object, ...], key: bytes) -> str:
    return blake2b(repr(row).encode(), digest_size=16, key=key).hexdigest()


class IpsecInfo(NamedTuple):
    """Row of the IPsec information table, keyed by (source, destination) (B12); no `esp_id` without IPsec."""

    source: str
    destination: str
    actual_destination: str
    tunnel_id: str
    esp_id: str | None


class EspInfo(NamedTuple):
    """ESP or AH information (B13): key lengths in bits; the keys themselves stay in the secrets."""

    identifier: str
    encryption_method: str
    direction: str
    ah_auth_key_length: int
    esp_auth_key_length: int
    esp_encryption_key_length: int


class TunnelInfo(NamedTuple):
    """Tunnel information (B14)."""

    identifier: str
    encapsulation_method: str
    direction: str
    source_address: str
    destination_address: str


class Route(NamedTuple):
    """Route table row (B16). `table` and `mark` are its auxiliary: a marked packet is routed by that table."""

    destination: str
    gateway: str | None
    metric: int
    interface: str | None
    table: int
    kind: str = "unicast"


class QosFilter(NamedTuple):
    """DS filter (D15): TOS with source, destination and masks, and the mark that names the virtual device."""

    source: str
    destination: str
    dscp: int | None
    mark: int
    handle: int
    priority: int


@dataclass(slots=True)
class GatewayState:
    """One gateway: its legs and, reference-counted, what they share. Treat as frozen once compiled."""

    gateway: str
    legs: dict[str, Leg] = field(default_factory=dict)
    peers: dict[str, Peer] = field(default_factory=dict)
    references: dict[str, int] = field(default_factory=dict)
    secrets: dict[str, ProfileKeys] = field(default_factory=dict, repr=False)

    def copy(self) -> GatewayState:
        """The same state, free to be changed."""
        return GatewayState(self.gateway, dict(self.legs), dict(self.peers), dict(self.references), dict(self.secrets))

    @property
    def units(self) -> dict[str, Unit]:
        """All units by name."""
        return {**self.peers, **self.legs}

    @property
    def digest(self) -> str:
        """Digest of the whole state, secrets apart."""
        whole = blake2b(digest_size=16)
        for name, unit in sorted(self.units.items()):
            whole.update(f"{name}={unit.digest()}\n".encode())
        return whole.hexdigest()
