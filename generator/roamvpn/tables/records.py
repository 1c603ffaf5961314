"""The rows that users and contracts bring: VPN database, CN-GW table, sessions, policy tests."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from roamvpn.tables.base import Frozen
from roamvpn.tables.types import (
    Address,
    GwType,
    Nai,
    Name,
    Net,
    ProfileNumber,
    Security,
    Share,
    Spi,
    VpnShare,
)

NO_CLASS = "none"


class VpnRecord(Frozen):
    """One VPN of one user (B1, Fig 5), with the security type that Fig 5 leaves out (G15).

    `upclass` and `downclass` name a service class; `none` is TOS 0.
    """

    profile_number: ProfileNumber
    nai: Nai
    vpnshare: VpnShare
    destaddr: Net
    upclass: Name | None = None
    downclass: Name | None = None
    up_spi: Spi | None = None
    down_spi: Spi | None = None
    security: Security = Security.ESP

    @model_validator(mode="after")
    def _own_is_complete(self) -> Self:
        if self.vpnshare == 1:
            needed = ("upclass", "downclass", "up_spi", "down_spi")
            missing = [name for name in needed if getattr(self, name) is None]
            if missing:
                raise ValueError(f"vpnshare=1 needs {', '.join(missing)} (B3)")
        return self

    @property
    def share(self) -> Share:
        """The security relationship used: the gateways' shared one or the user's own (B2, G12)."""
        return Share.OWN if self.vpnshare else Share.SHARED


class CnGwRow(Frozen):
    """Which gateway accommodates which correspondents (B6, Fig 8). Without a tenant it holds for everybody."""

    cn: Net
    gw_address: Address
    gw_type: GwType
    tenant: Name | None = None


class Session(Frozen):
    """Where a registered user is: the key of a VPN information cache instance (B9, B10).

    Successive `generation`s alternate between the two devices of users' own SAs.
    """

    session_id: Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9;._:-]{0,127}$")]
    nai: Nai
    foreign_agent: Name
    generation: int = Field(default=0, strict=True, ge=0, le=0xFFFFFFFF)


class Expectation(Frozen):
    """What must come out: `none`, or the path with its security, share and classes."""

    path: tuple[Name, ...] = Field(min_length=2)
    security: Security = Security.ESP
    share: Share | None = None
    upclass: Name | None = None
    downclass: Name | None = None


class PolicyTest(Frozen):
    """An assertion about the policy: this user, at this foreign agent, to this address."""

    user: Nai
    at: Name
    to: Address
    expect: Literal["none"] | Expectation


class VpnDatabaseFile(Frozen):
    """All of `vpn_database.yml`."""

    vpn_database: tuple[VpnRecord, ...]


class CnGwTableFile(Frozen):
    """All of `cn_gw_table.yml`."""

    cn_gw_table: tuple[CnGwRow, ...]


class SessionsFile(Frozen):
    """All of `sessions.yml`."""

    sessions: tuple[Session, ...]


class PolicyTestsFile(Frozen):
    """All of `policy_tests.yml`."""

    policy_tests: tuple[PolicyTest, ...]
