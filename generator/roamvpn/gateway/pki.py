"""A gateway's credentials: its private key is made here, never leaves, and is replaced only with its certificate."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.kernel import run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_IDENTITY = re.compile(r"[a-z0-9][a-z0-9.@-]{0,200}\Z")
_GATEWAY = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
_FILES = {"certificate": "x509/{gateway}.pem", "authority": "x509ca/roamvpn.pem", "crl": "x509crl/roamvpn.pem"}


def request(credentials: Path, gateway: str, identities: list[str], *, fresh: bool) -> dict[str, object]:
    """A PKCS #10 request for these identities; makes a private key where there is none, or a fresh one.

    A fresh key waits beside the old one until its certificate comes.
    """
    if not all(_IDENTITY.match(identity) for identity in identities):
        raise GatewayError("pki", f"not an identity: {identities!r:.200}")
    for directory, mode in (("private", 0o700), ("x509", 0o755), ("x509ca", 0o755), ("x509crl", 0o755)):
        (credentials / directory).mkdir(mode=mode, parents=True, exist_ok=True)
    current, coming = _private(credentials, gateway), _coming(credentials, gateway)
    made = fresh or not (current.exists() or coming.exists())
    if made:
        _create(coming, run(["pki", "--gen", "--type", "ed25519", "--outform", "pem"], step="pki").encode(), 0o600)
    key = coming if coming.exists() else current
    names = [word for identity in identities for word in ("--san", identity)]
    argv = ["pki", "--req", "--type", "priv", "--in", str(key), "--dn", f"CN={identities[0]}", *names]
    return {"changed": made, "request": run([*argv, "--outform", "pem"], step="pki")}


def install(credentials: Path, gateway: str, received: Mapping[str, str]) -> bool:
    """Write certificate, CA certificate and CRL; the waiting key becomes the current one with its certificate.

    A certificate of another key leaves it waiting: the current one may be delivered again at any time.
    """
    changed = False
    coming = _coming(credentials, gateway)
    comes = "certificate" in received and coming.exists() and _public(coming) == _certified(received)
    for name, pattern in _FILES.items():
        if name in received:
            changed |= _replace(credentials / pattern.format(gateway=gateway), received[name].encode())
    if comes:
        coming.replace(_private(credentials, gateway))
        changed = True
    return changed


def _public(key: Path) -> str:
    return run(["pki", "--pub", "--type", "priv", "--in", str(key), "--outform", "pem"], step="pki")


def _certified(received: Mapping[str, str]) -> str:
    argv = ["pki", "--pub", "--type", "x509", "--outform", "pem"]
    return run(argv, stdin=received["certificate"], step="pki")


def remove(credentials: Path, gateway: str) -> list[str]:
    """Remove certificate, private key, CA certificate and CRL; returns the paths of what was there."""
    keys = [_private(credentials, gateway), _coming(credentials, gateway)]
    paths = [*(credentials / pattern.format(gateway=gateway) for pattern in _FILES.values()), *keys]
    gone = [path for path in paths if path.exists()]
    for path in gone:
        path.unlink()
    return [str(path) for path in gone]


def _private(credentials: Path, gateway: str) -> Path:
    if not _GATEWAY.match(gateway):
        raise GatewayError("pki", f"not the name of a gateway: {gateway[:70]!r}")
    return credentials / "private" / f"{gateway}.pem"


def _coming(credentials: Path, gateway: str) -> Path:
    return _private(credentials, gateway).with_name(f".{gateway}.coming")


def _replace(path: Path, content: bytes) -> bool:
    if path.exists() and path.read_bytes() == content:
        return False
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}")
    _create(staged, content, 0o644)
    staged.replace(path)
    return True


def _create(path: Path, content: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
