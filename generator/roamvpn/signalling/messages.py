"""The messages between roles, as typed values; `roamvpn.wire` gives them bytes.

Lifetimes are in seconds, as on the wire; 0 ends a registration. `seq` is the identification of the mobile's
registration (RFC 5944 section 5.7), strictly increasing: every message and every table entry of an event carries
it, and nothing older changes what is newer.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.rows import replaced_often
from roamvpn.tables.types import Word

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.tables.records import VpnRecord


class NodeRole(Word):
    """Who takes part in signalling (A2 to A7). A node may have several roles."""

    MN = "mn"
    FA = "fa"
    AAAF = "aaaf"
    AAAH = "aaah"
    HA = "ha"
    PCN = "pcn"


class Address(NamedTuple):
    """A role at a node: a gateway's or AAA server's name, or for a mobile the NAI."""

    role: NodeRole
    name: str

    def __str__(self) -> str:
        """`ha31`."""
        return self.name


class Code(IntEnum):
    """Codes of registration replies and acknowledgements (RFC 5944 section 3.4; optim-09 for 133 in a BA)."""

    ACCEPTED = 0
    FA_PROHIBITED = 65
    FA_RESOURCES = 66
    FA_AUTHENTICATION = 67
    FA_TIMEOUT = 78
    HA_UNREACHABLE = 88
    HA_UNSPECIFIED = 128
    """Here: the home agent knows nothing that fits; the foreign agent registers as initially."""
    HA_AUTHENTICATION = 131
    STALE = 133


class Result(IntEnum):
    """Result codes of AMA and HAA (RFC 6733 section 7.1, RFC 4004 section 6)."""

    SUCCESS = 2001
    UNABLE_TO_DELIVER = 3002
    AUTHENTICATION_REJECTED = 4001
    MIP_REPLY_FAILURE = 4005
    HA_NOT_AVAILABLE = 4006
    UNABLE_TO_COMPLY = 5012


REPLY_CODES = {
    Result.UNABLE_TO_DELIVER: Code.FA_PROHIBITED,
    Result.AUTHENTICATION_REJECTED: Code.FA_AUTHENTICATION,
    Result.MIP_REPLY_FAILURE: Code.HA_UNSPECIFIED,
    Result.HA_NOT_AVAILABLE: Code.HA_UNREACHABLE,
    # the VPN database cannot be reached: for now there are no resources for new sessions (G25)
    Result.UNABLE_TO_COMPLY: Code.FA_RESOURCES,
}
"""What the mobile is told where an AMA without a registration reply refuses."""


class FrontEnd(Word):
    """How the user asked for other VPNs (E7.6); all lead to the same update of the database."""

    WEB = "web"
    DIALLED = "dialled"
    ONE_CLICK = "one-click"


class ServiceUpdate(NamedTuple):
    """Extension of a registration request: the user's VPN records have changed, look them up again (E7.2)."""

    front_end: FrontEnd = FrontEnd.WEB


class InstanceId(NamedTuple):
    """Which state of a session's VPN information a node holds; equal at all nodes that agree."""

    session_id: str
    version: int
    generation: int

    @classmethod
    def of(cls, information: VpnInformation) -> InstanceId:
        """That of the VPN information."""
        return cls(information.session_id, information.version, information.generation)


@replaced_often
class RegReq(NamedTuple):
    """Registration request. `old_fa` is the previous foreign agent notification (optim-09), as the mobile says.

    `answered` is the `seq` of the last registration whose reply the mobile has had, as with the nonces of RFC 5944
    section 5.7.2. `care_of` and `held` are set by the foreign agent where it asks the home agent directly. `packet` is
    the mobile's own request with its authenticators, where it came as one: what others verify, opaque to machines.
    """

    nai: str
    seq: int
    home_agent: str
    lifetime: int
    old_fa: str | None = None
    update: ServiceUpdate | None = None
    answered: int = 0
    care_of: str | None = None
    held: InstanceId | None = None
    packet: bytes = b""


@replaced_often
class RegRep(NamedTuple):
    """Registration reply. From the home agent it names the old foreign agents that are to be told (C13).

    `packet` is what the home agent has for the mobile, with its authenticator; the foreign agent passes it on.
    """

    nai: str
    seq: int
    code: Code
    lifetime: int = 0
    old_fas: tuple[str, ...] = ()
    packet: bytes = b""


@replaced_often
class Amr(NamedTuple):
    """AA-Mobile-Node-Request: the request that the foreign agent `origin` received (C6), relayed by `relay`."""

    nai: str
    seq: int
    origin: str
    request: RegReq
    relay: str | None = None


@replaced_often
class Ama(NamedTuple):
    """AA-Mobile-Node-Answer, for the foreign agent `origin`; `information` is the profile-cache AVP (A10, C3).

    Without a `reply` it answers a move within the domain: the foreign agent asks the home agent itself. The AAAF may
    answer so for `authorized` seconds.
    """

    nai: str
    seq: int
    origin: str
    result: Result
    information: VpnInformation | None = None
    old_fas: tuple[str, ...] = ()
    reply: RegRep | None = None
    authorized: int = 0


class Har(NamedTuple):
    """Home-Agent-MIP-Request: the embedded registration request and all profiles (C12)."""

    nai: str
    seq: int
    origin: str
    request: RegReq
    information: VpnInformation | None = None


class Haa(NamedTuple):
    """Home-Agent-MIP-Answer: the embedded reply, and the generation that the home agent gave the session."""

    nai: str
    seq: int
    result: Result
    reply: RegRep
    generation: int = 0


class Bu(NamedTuple):
    """Binding update: to a PCN one VPN (D10), to an old foreign agent the hand-off; lifetime 0 deletes.

    `ready` says that the foreign agent has its half, so the receiver may bring the tunnel up.
    """

    nai: str
    seq: int
    sender: Address
    lifetime: int
    profile_number: int = 0
    information: VpnInformation | None = None
    ready: bool = False


class Ba(NamedTuple):
    """Binding acknowledge; passes the foreign agent on its way to the mobile (G9)."""

    nai: str
    seq: int
    sender: Address
    status: Code
    profile_number: int = 0


class Br(NamedTuple):
    """Binding request: the PCN's VPN ends soon, is it still wanted (E7.5)?"""

    nai: str
    sender: Address
    profile_number: int


Message = RegReq | RegRep | Amr | Ama | Har | Haa | Bu | Ba | Br
NAMES: dict[type, str] = {
    RegReq: "Reg Req",
    RegRep: "Reg Rep",
    Amr: "AMR",
    Ama: "AMA",
    Har: "HAR",
    Haa: "HAA",
    Bu: "BU",
    Ba: "BA",
    Br: "BR",
}
"""The messages by the names that the seed gives them."""


class Found(NamedTuple):
    """The VPN database's answer to a `Search`: all hits (B4), or None where it cannot be reached."""

    nai: str
    seq: int
    records: tuple[VpnRecord, ...] | None


class Applied(NamedTuple):
    """The gateway's answer to an `Apply` that waits: its tunnels stand, or could not be set."""

    nai: str
    seq: int
    ok: bool = True


class Timer(NamedTuple):
    """A deadline of the entry `key` may have come."""

    key: str


Event = Message | Found | Applied | Timer
