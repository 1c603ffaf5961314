"""`network.yml`: domains, gateways, service classes and subscribers of a site (roles of A1 to A6)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from roamvpn.tables.base import Frozen
from roamvpn.tables.types import (
    Address,
    Dscp,
    GatewayNumber,
    Interface,
    Keying,
    Nai,
    Name,
    Net,
    Rate,
    Realm,
    Role,
    host_prefix,
)

Proposal = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9]+(-[a-z0-9]+){1,5}$", max_length=80)]
Duration = Annotated[str, StringConstraints(strict=True, pattern=r"^[1-9][0-9]{0,5}[smh]$")]


class ServiceClass(Frozen):
    """A DiffServ class: the DSCP that marks it and its share of every uplink (HTB rate and ceiling)."""

    dscp: Dscp
    rate: Rate
    ceil: Rate | None = None


class Domain(Frozen):
    """An administrative domain: an ISP or an enterprise."""

    realm: Realm
    title: str = Field(default="", max_length=60, strict=True, pattern=r"^[^\x00-\x1f\x7f]*$")


class Uplink(Frozen):
    """The interface towards the other gateways and its rate, the root of the HTB tree."""

    interface: Interface
    rate: Rate


class Sla(Frozen):
    """What an enterprise and the home ISP agreed for a static gateway (E1.1).

    `keys` is always `sla`: a static gateway cannot learn a generated key (G11). With `keying: static`
    `up_spi` and `down_spi` are those of the shared association, up being home agent to enterprise.
    """

    home_agent: Name
    keying: Keying = Keying.IKE
    keys: Literal["sla", "generated"] = "sla"
    up_spi: int | None = Field(default=None, strict=True, ge=0x100, le=0xFFFFFFFF)
    down_spi: int | None = Field(default=None, strict=True, ge=0x100, le=0xFFFFFFFF)


class Gateway(Frozen):
    """A security gateway and DiffServ edge router (A2).

    `number` names it in devices, marks and routing tables on its peers; it never changes. `management` is where
    playbooks reach it, if that is not its `address`. Where an `agent` serves it, that sets what follows users, and
    playbooks set the rest.
    """

    number: GatewayNumber
    domain: Name
    roles: tuple[Role, ...] = Field(min_length=1)
    address: Address
    management: Address | None = None
    # what is rendered for a gateway without one is the same as ever
    agent: bool = Field(default=False, strict=True, repr=False)
    uplink: Uplink
    access: tuple[Interface, ...] = ()
    home_networks: tuple[Net, ...] = ()
    sla: Sla | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        roles = set(self.roles)
        if len(roles) != len(self.roles):
            raise ValueError("names a role twice")
        if Role.STATIC in roles and roles != {Role.STATIC}:
            raise ValueError("a static gateway is never signalled, so it has no other role (A2)")
        if Role.STATIC in roles and self.agent:
            raise ValueError("a static gateway is never signalled, so it has no agent (A2)")
        if Role.STATIC in roles and self.sla is None:
            raise ValueError("a static gateway needs its sla")
        if Role.STATIC not in roles and self.sla is not None:
            raise ValueError("an sla, and so static keying, is for static gateways; dynamic segments use IKEv2")
        if self.home_networks and Role.HA not in roles:
            raise ValueError("home_networks belong to a home agent (role ha)")
        if len(set(self.access)) != len(self.access) or self.uplink.interface in self.access:
            raise ValueError("names an interface twice")
        if any(name.startswith("rv-") for name in (self.uplink.interface, *self.access)):
            raise ValueError("interfaces called rv-… are roamvpn's own")
        return self


class AaaServer(Frozen):
    """An AAA server: home (AAAH) or foreign (AAAF) to the users of its domain (A3, A4)."""

    domain: Name
    role: Literal["home", "foreign"]
    address: Address


class Subscriber(Frozen):
    """A user of the home ISP: who he is, where his home is."""

    nai: Nai
    home_address: Address
    home_agent: Name
    tenant: Name | None = None


class Ike(Frozen):
    """IKEv2 and child settings of every connection of the site."""

    proposals: tuple[Proposal, ...] = ("aes256-sha256-x25519",)
    esp_proposals: tuple[Proposal, ...] = ("aes256gcm16-x25519",)
    ah_proposals: tuple[Proposal, ...] = ("sha256-x25519",)
    rekey_time: Duration = "4h"
    child_rekey_time: Duration = "1h"
    dpd_delay: Duration = "30s"
    replay_window: int = Field(default=1024, strict=True, ge=32, le=4096)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        # charon takes an ESP proposal without integrity and negotiates nothing with it
        for proposal in self.esp_proposals:
            words = proposal.split("-")
            if not any("gcm" in word or "ccm" in word or "poly1305" in word for word in words) and not any(
                word.startswith("sha") for word in words
            ):
                raise ValueError(f"esp proposal {proposal} has neither an AEAD cipher nor an integrity algorithm")
        for proposal in self.ah_proposals:
            if not proposal.startswith("sha"):
                raise ValueError(f"ah proposal {proposal} must begin with an integrity algorithm such as sha256")
        return self


class Network(Frozen):
    """All of `network.yml`."""

    site: Name
    tenants: tuple[Name, ...] = ()
    classes: dict[Name, ServiceClass] = Field(default_factory=dict)
    domains: dict[Name, Domain]
    gateways: dict[Name, Gateway]
    aaa_servers: dict[Name, AaaServer] = Field(default_factory=dict)
    subscribers: tuple[Subscriber, ...] = ()
    ike: Ike = Ike()
    allow_encapsulation_only: bool = Field(default=False, strict=True)
    tunnel_mtu: int = Field(default=1400, strict=True, ge=576, le=9000)


def home_agent_of(network: Network, home_address: str) -> str | None:
    """The home agent in whose home networks an address lies; None where there is none."""
    home = host_prefix(home_address)
    for name, gateway in sorted(network.gateways.items()):
        if any(net.contains(home) for net in gateway.home_networks):
            return name
    return None
