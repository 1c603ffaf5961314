"""The site's certificate authority: Ed25519, kept on the controller, in SITE/.roamvpn/pki.

`ca.key`, `ca.pem`, `crl.pem`, and `index.json`: what was issued to whom, what is revoked. Source: RFC 5280; the
identities are subjectAltNames, which charon compares with IKE identities.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import Field, ValidationError

from roamvpn.stores.tree import write_secret
from roamvpn.tables.base import Frozen
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CA_LIFE, _LIFE, _CRL_LIFE = timedelta(days=3650), timedelta(days=90), timedelta(days=60)
RENEWAL = timedelta(days=30)
_BACKDATED = timedelta(hours=1)
"""Clocks of gateways may be slow."""


class Issued(Frozen):
    """A certificate in use."""

    serial: str
    not_after: datetime
    identities: tuple[str, ...]


class Index(Frozen):
    """What was issued, by gateway, and when what was revoked, by serial number."""

    issued: dict[str, Issued] = Field(default_factory=dict)
    revoked: dict[str, datetime] = Field(default_factory=dict)


class Authority:
    """The CA of a site. Times are given, so that a test can be in any year."""

    def __init__(self, root: Path, site: str, passphrase: str = "") -> None:
        self.root = root
        self._site = site
        self._passphrase = passphrase.encode()
        self.index = self._read()

    def _read(self) -> Index:
        path = self.root / "index.json"
        try:
            return Index.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Index()
        except ValidationError as error:
            raise RoamvpnError(f"{path}: {error.errors()[0]['msg']}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Issue one certificate at a time: gateways are served side by side."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self.index = self._read()
            yield
        finally:
            os.close(descriptor)

    def lacks(self, gateway: str, identities: tuple[str, ...], now: datetime) -> bool:
        """Whether a gateway needs a certificate: it has none, an old one, one with other names."""
        issued = self.index.issued.get(gateway)
        return issued is None or issued.identities != identities or issued.not_after - now < RENEWAL

    def prepare(self, now: datetime) -> None:
        """Make the CA where there is none, and its CRL where that is missing or will be too old."""
        if not (self.root / "ca.pem").exists():
            self._found(now)
        if not (self.root / "crl.pem").exists() or self._crl().next_update_utc - now < RENEWAL:  # type: ignore[operator]
            self._write_crl(now)

    @property
    def certificate(self) -> str:
        """The CA's certificate, PEM."""
        return (self.root / "ca.pem").read_text()

    @property
    def crl(self) -> str:
        """The CRL, PEM."""
        return (self.root / "crl.pem").read_text()

    @property
    def crl_digest(self) -> str | None:
        """Names the CRL; None before there is one."""
        path = self.root / "crl.pem"
        return sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else None

    def issue(self, request: str, gateway: str, identities: tuple[str, ...], now: datetime) -> str:
        """Sign a request; the names are the ones that the tables give, whatever it asks for. Returns PEM."""
        try:
            asked = x509.load_pem_x509_csr(request.encode())
            proven = asked.is_signature_valid
        except (ValueError, InvalidSignature):
            proven = False
        if not proven:
            raise RoamvpnError(f"{gateway}: its certificate request does not hold")
        serial = x509.random_serial_number()
        authority = x509.load_pem_x509_certificate(self.certificate.encode())
        key = self._key()
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = (
            x509.CertificateBuilder()
            .subject_name(_name(identities[0]))
            .issuer_name(authority.subject)
            .public_key(asked.public_key())
            .serial_number(serial)
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _LIFE)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in identities]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(_key_id(key), critical=False)
            .sign(key, None)
        )
        issued = Issued(serial=f"{serial:x}", not_after=now + _LIFE, identities=identities)
        self._store(self.index.model_copy(update={"issued": {**self.index.issued, gateway: issued}}))
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def revoke(self, gateway: str, now: datetime) -> bool:
        """Revoke a gateway's certificate and write a new CRL; False where it has none."""
        issued = self.index.issued.get(gateway)
        if issued is None:
            return False
        rest = {name: entry for name, entry in self.index.issued.items() if name != gateway}
        self._store(Index(issued=rest, revoked={**self.index.revoked, issued.serial: now}))
        self._write_crl(now)
        return True

    # -- files ------------------------------------------------------------------------------------------------------

    def _found(self, now: datetime) -> None:
        key = Ed25519PrivateKey.generate()
        name = _name(f"roamvpn {self._site}")
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, None)
        )
        how: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if self._passphrase:
            how = serialization.BestAvailableEncryption(self._passphrase)
        text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how).decode()
        write_secret(self.root / "ca.key", text)
        write_secret(self.root / "ca.pem", made.public_bytes(serialization.Encoding.PEM).decode())

    def _key(self) -> Ed25519PrivateKey:
        path = self.root / "ca.key"
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), self._passphrase or None)
        except (TypeError, ValueError):
            wrong = "needs its passphrase, and another was given" if self._passphrase else "needs its passphrase"
            raise RoamvpnError(f"{path}: {wrong} (roamvpn_ca_passphrase)") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise RoamvpnError(f"{path}: is not an Ed25519 key")
        return key

    def _crl(self) -> x509.CertificateRevocationList:
        return x509.load_pem_x509_crl((self.root / "crl.pem").read_bytes())

    def _write_crl(self, now: datetime) -> None:
        authority = x509.load_pem_x509_certificate(self.certificate.encode())
        key = self._key()
        number = self._crl_number() + 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(now - _BACKDATED)
            .next_update(now + _CRL_LIFE)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_key_id(key), critical=False)
        )
        for serial, when in sorted(self.index.revoked.items()):
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(when).build()
            builder = builder.add_revoked_certificate(entry)
        made = builder.sign(key, None)
        write_secret(self.root / "crl.pem", made.public_bytes(serialization.Encoding.PEM).decode())

    def _crl_number(self) -> int:
        if not (self.root / "crl.pem").exists():
            return 0
        return self._crl().extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    def _store(self, index: Index) -> None:
        self.index = index
        write_secret(self.root / "index.json", json.dumps(index.model_dump(mode="json"), indent=1, sort_keys=True))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _key_id(key: Ed25519PrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
