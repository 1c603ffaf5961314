"""What a Diameter node can be told: who its peers are, where it listens, how patient it is."""

from __future__ import annotations

import ssl
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from roamvpn.daemon.config import AbsolutePath, Port
from roamvpn.tables.base import Frozen
from roamvpn.tables.problems import RoamvpnError
from roamvpn.wire.diameter_avps import ENTERPRISE
from roamvpn.wire.diameter_base import host_name

PORT, TLS_PORT = 3868, 5658

Identity = Annotated[str, StringConstraints(strict=True, to_lower=True, max_length=253), AfterValidator(host_name)]
Host = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9A-Za-z.:-]{1,253}$")]
Route = Annotated[str, StringConstraints(strict=True, to_lower=True, pattern=r"^(\*|[0-9A-Za-z.-]{1,253})$")]


class PeerConfig(Frozen):
    """A peer that we know; others are refused.

    With a `host` we connect to it, without we wait for it. `routes` are the realms whose requests it takes on, `*` for
    all; requests for its own host go there anyway. `tls` false is for peers on a wire that nobody else is on.
    """

    identity: Identity
    host: Host | None = None
    port: Port | None = None
    routes: tuple[Route, ...] = ()
    tls: bool = Field(default=True, strict=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to."""
        return self.host or "", self.port or (TLS_PORT if self.tls else PORT)


class Listen(Frozen):
    """Where peers reach us. Port 0 is one that is free, for tests."""

    host: Host
    port: int = Field(default=TLS_PORT, strict=True, ge=0, le=65535)
    tls: bool = Field(default=True, strict=True)


class TlsFiles(Frozen):
    """PEM files: our certificate, whose name is our identity, its key, and who issues those of our peers."""

    certificate: AbsolutePath
    key: AbsolutePath
    ca: AbsolutePath
    crl: AbsolutePath | None = None

    def context(self, *, server: bool) -> ssl.SSLContext:
        """Both sides show certificates; raises RoamvpnError where a file does not hold."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # a peer's name is compared with its Origin-Host, on both sides in one place
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
            context.load_verify_locations(self.ca)
            if self.crl is not None:
                context.load_verify_locations(self.crl)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        except (OSError, ValueError) as error:
            files = ", ".join(each for each in (self.certificate, self.key, self.ca, self.crl) if each)
            raise RoamvpnError(f"TLS: {_reason(error)} ({files})") from None
        return context


class Limits(NamedTuple):
    """How patient a node is, in seconds, and how much it takes, in octets."""

    handshake: float = 10.0
    """From a connection to capabilities that are exchanged, TLS included."""
    message: float = 10.0
    """From the first octet of a message to its last."""
    watchdog: float = 30.0
    """Tw: after so much silence the peer is asked, after twice as much it is lost (RFC 3539 section 3.4.1)."""
    again: float = 3.0
    """A request without answer is sent once more, to another peer where there is one."""
    disconnect: float = 2.0
    """How long a peer has to answer a DPR."""
    first_pause: float = 0.5
    last_pause: float = 30.0
    """Pauses before a peer is tried again, doubling."""
    capabilities: int = 4096
    """The longest CER."""
    backlog: int = 8 << 20
    """What a peer may leave unread before it is cut off."""
    connections: int = 256
    """Inbound connections, of which those of known peers take one each."""
    answer: float = 60.0
    """A peer's request that has no answer after so long is forgotten."""
    pending: int = 20_000
    """Requests of one peer that wait for answers, and of ours that wait for its."""


class DiameterConfig(Frozen):
    """The part of a daemon's configuration that is about Diameter."""

    peers: tuple[PeerConfig, ...]
    listen: tuple[Listen, ...] = ()
    tls: TlsFiles | None = None
    vendor: int = Field(default=ENTERPRISE, strict=True, ge=1, le=0xFFFFFFFF)
    watchdog: float = Field(default=Limits().watchdog, ge=0.05, le=3600)
    """Seconds; less than 6 is for tests (RFC 3539 section 3.4.1)."""
    timeout: float = Field(default=8.0, ge=0.1, le=300)
    """Seconds to wait for an answer."""

    @model_validator(mode="after")
    def _holds(self) -> Self:
        names = [peer.identity for peer in self.peers]
        if len(set(names)) != len(names):
            raise ValueError("a peer stands twice")
        wants = any(peer.tls for peer in self.peers) or any(each.tls for each in self.listen)
        if wants and self.tls is None:
            raise ValueError("tls is missing: peers and listeners use it unless they say `tls: false`")
        return self

    def limits(self) -> Limits:
        """With this patience."""
        return Limits(watchdog=self.watchdog)


def _no_password() -> str:
    # without this OpenSSL would ask on the terminal
    raise ValueError("the key is encrypted")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "a file is no PEM"
    if isinstance(error, OSError):
        return error.strerror or "a file cannot be read"
    return str(error)
