"""Diameter peers on 127.0.0.1: nodes of ours, peers that send what they like, and certificates for both."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from roamvpn.daemon.diameter.node import DiameterNode
from roamvpn.daemon.diameter.settings import Limits, Listen, PeerConfig, TlsFiles
from roamvpn.daemon.logs import logger
from roamvpn.daemon.metrics import Metrics
from roamvpn.signalling.messages import Ama, Result
from roamvpn.wire.diameter import DiameterCodec
from roamvpn.wire.diameter_avps import ENTERPRISE
from roamvpn.wire.diameter_base import BaseCodec
from roamvpn.wire.diameter_frames import message_length, peek_header, with_ids
from tests.diameter import NETWORK
from tests.registrations import amr_of
from tests.signalled import ALICE

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roamvpn.daemon.diameter.requests import Answer, Request

HOST = "127.0.0.1"
FA, AAAF, AAAH = "fa21.isp2.example", "aaaf23.isp2.example", "aaah33.isp3.example"
CODEC = DiameterCodec(NETWORK, "aaaf23")
HOME = DiameterCodec(NETWORK, "aaah33")
AMR = CODEC.request(amr_of(ALICE, 7), "aaah33")
AMA = Ama(ALICE, 7, "fa21", Result.SUCCESS, authorized=60)
"""A request of alice's foreign agent by way of its AAAF, and its answer."""
QUICK = Limits(handshake=5, watchdog=30, again=30, disconnect=1, first_pause=0.01, last_pause=0.05)
"""Patient where nothing is to happen, quick where something is waited for."""
LONG = 20
"""Seconds after which a test gives up."""


class Peer:
    """A node of ours with what it was asked, and answers to that on demand."""

    def __init__(self, name: str, realm: str, *peers: PeerConfig, limits: Limits = QUICK, **more: Any) -> None:  # noqa: ANN401 - of a node
        self.requests: asyncio.Queue[Request] = asyncio.Queue()
        self.metrics = Metrics(name)
        listen = more.pop("listen", [Listen(host=HOST, port=0, tls="tls" in more)])
        self.node = DiameterNode(
            f"{name}.{realm}",
            realm,
            peers,
            self.requests.put_nowait,
            log=logger(node=name),
            metrics=self.metrics,
            listen=listen,
            limits=limits,
            **more,
        )

    async def __aenter__(self) -> Self:
        await self.node.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self.node.stop(), LONG)

    @property
    def port(self) -> int:
        return self.node.ports[0]

    def ask(self, raw: bytes, realm: str, host: str | None = None, timeout: float = LONG) -> asyncio.Future[Answer]:
        """Send a request; the future is its answer."""
        found: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.node.send(raw, realm, found.set_result, timeout, host=host)
        return found

    def count(self, name: str, **labels: str) -> float:
        """A counter's value."""
        return self.metrics.registry.get_sample_value(f"roamvpn_{name}_total", labels) or 0.0


def waits_for(identity: str, *routes: str, tls: bool = False) -> PeerConfig:
    """A peer that comes to us."""
    return PeerConfig(identity=identity, routes=routes, tls=tls)


def connects_to(identity: str, port: int, *routes: str, tls: bool = False) -> PeerConfig:
    """A peer that we go to."""
    return PeerConfig(identity=identity, host=HOST, port=port, routes=routes, tls=tls)


class Raw:
    """A peer that is nobody's code: it sends the octets that it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, identity: str) -> None:
        self.reader, self.writer = reader, writer
        self.base = BaseCodec(identity, identity.partition(".")[2], 2, ENTERPRISE, 1)
        self._next = 0

    def send(self, raw: bytes) -> None:
        self.writer.write(raw)

    def ask(self, raw: bytes, hop_by_hop: int | None = None, end_to_end: int | None = None) -> None:
        """A request with identifiers of its own."""
        self._next += 1
        self.send(with_ids(raw, hop_by_hop or self._next, end_to_end or self._next))

    async def read(self) -> bytes:
        """The next message; raises IncompleteReadError where the connection has ended."""
        async with asyncio.timeout(LONG):
            head = await self.reader.readexactly(4)
            return head + await self.reader.readexactly(message_length(head) - 4)

    async def greet(self) -> bytes:
        """CER, and the answer to it."""
        self.ask(self.base.capabilities_request(bytes((127, 0, 0, 1))))
        return await self.read()

    async def ended(self) -> bytes:
        """What is still sent before the other side closes."""
        async with asyncio.timeout(LONG):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def raw_peer(
    port: int, identity: str, context: ssl.SSLContext | None = None, *, greets: bool = True
) -> AsyncIterator[Raw]:
    """Connected, and greeted unless told otherwise."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
    peer = Raw(reader, writer, identity)
    try:
        if greets:
            assert not peek_header(await peer.greet()).is_request
        yield peer
    finally:
        writer.transport.abort()


class Authority:
    """Issues certificates for peers."""

    def __init__(self, root: Path, name: str = "ca") -> None:
        self.root = root
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = root / f"{name}.pem"
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.ca.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))

    def files(self, identity: str) -> TlsFiles:
        """A certificate for an identity, with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity)])
        names = x509.SubjectAlternativeName([x509.DNSName(identity)])
        certificate = self._builder(subject, key).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        path, secret = self.root / f"{identity}.pem", self.root / f"{identity}.key"
        path.write_bytes(_pem(certificate))
        secret.touch(0o600)
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return TlsFiles(certificate=str(path), key=str(secret), ca=str(self.ca))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
