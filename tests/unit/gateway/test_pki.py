"""A gateway's private key, made by the real `pki`, and certificates of a real authority."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from roamvpn.gateway import pki
from roamvpn.gateway.errors import GatewayError
from roamvpn.provision.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = ("fa21.isp2.example", "ah.fa21.isp2.example")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "authority", "example")
    with made.locked():
        made.prepare(NOW)
    return made


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    return tmp_path / "swanctl"


def _request(credentials: Path, *, fresh: bool = False) -> str:
    return str(pki.request(credentials, "fa21", list(NAMES), fresh=fresh)["request"])


def _public(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _of_key(path: Path) -> bytes:
    key = serialization.load_pem_private_key(path.read_bytes(), None).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _of_certificate(text: str) -> bytes:
    return _public(x509.load_pem_x509_certificate(text.encode()).public_key())


def _issued(authority: Authority, request: str) -> str:
    return authority.issue(request, "fa21", NAMES, NOW)


def _state(credentials: Path) -> dict[str, bytes]:
    return {
        path.relative_to(credentials).as_posix(): path.read_bytes() for path in credentials.rglob("*") if path.is_file()
    }


def test_the_first_key_is_closed_and_waits_for_its_certificate(credentials: Path, authority: Authority) -> None:
    request = x509.load_pem_x509_csr(_request(credentials).encode())
    coming = credentials / "private/.fa21.coming"
    assert [path.name for path in coming.parent.iterdir()] == [".fa21.coming"]
    assert coming.stat().st_mode & 0o777 == 0o600
    assert coming.parent.stat().st_mode & 0o777 == 0o700
    assert _public(request.public_key()) == _of_key(coming)
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names.get_values_for_type(x509.DNSName)) == NAMES
    certificate = _issued(authority, _request(credentials))
    assert pki.install(credentials, "fa21", {"certificate": certificate})
    assert [path.name for path in coming.parent.iterdir()] == ["fa21.pem"]
    assert (credentials / "private/fa21.pem").stat().st_mode & 0o777 == 0o600
    assert _of_key(credentials / "private/fa21.pem") == _of_certificate(certificate)


def test_a_key_is_not_made_again(credentials: Path, authority: Authority) -> None:
    assert pki.request(credentials, "fa21", list(NAMES), fresh=False)["changed"] is True
    before = _state(credentials)
    assert pki.request(credentials, "fa21", list(NAMES), fresh=False)["changed"] is False
    assert _state(credentials) == before
    pki.install(credentials, "fa21", {"certificate": _issued(authority, _request(credentials))})
    key = credentials / "private/fa21.pem"
    stands = key.stat()
    assert pki.request(credentials, "fa21", list(NAMES), fresh=False)["changed"] is False
    assert [path.name for path in key.parent.iterdir()] == ["fa21.pem"]
    assert (key.stat().st_ino, key.stat().st_mtime_ns) == (stands.st_ino, stands.st_mtime_ns)


def test_a_fresh_key_waits_until_its_own_certificate_comes(credentials: Path, authority: Authority) -> None:
    old = _issued(authority, _request(credentials))
    pki.install(credentials, "fa21", {"certificate": old})
    key, coming = credentials / "private/fa21.pem", credentials / "private/.fa21.coming"
    request = _request(credentials, fresh=True)
    assert coming.stat().st_mode & 0o777 == 0o600
    assert _of_key(key) == _of_certificate(old)
    # the old certificate is delivered again, as whenever the controller sees to it
    files = {"certificate": old, "authority": authority.certificate, "crl": authority.crl}
    assert pki.install(credentials, "fa21", files)
    assert not pki.install(credentials, "fa21", files)
    assert _of_key(key) == _of_certificate(old)
    assert coming.exists()
    new = _issued(authority, request)
    assert pki.install(credentials, "fa21", {"certificate": new})
    assert _of_key(key) == _of_certificate(new) != _of_certificate(old)
    assert (credentials / "x509/fa21.pem").read_text() == new
    assert not coming.exists()


def test_a_request_is_for_the_key_that_waits(credentials: Path, authority: Authority) -> None:
    pki.install(credentials, "fa21", {"certificate": _issued(authority, _request(credentials))})
    fresh = x509.load_pem_x509_csr(_request(credentials, fresh=True).encode())
    again = x509.load_pem_x509_csr(_request(credentials).encode())
    assert _public(fresh.public_key()) == _public(again.public_key()) == _of_key(credentials / "private/.fa21.coming")


def test_what_is_no_certificate_is_refused_and_nothing_written(credentials: Path) -> None:
    _request(credentials)
    before = _state(credentials)
    with pytest.raises(GatewayError, match="pki"):
        pki.install(credentials, "fa21", {"authority": "new\n", "certificate": "nonsense\n"})
    assert _state(credentials) == before


def test_a_new_crl_changes_that_file_only(credentials: Path, authority: Authority) -> None:
    files = {"authority": authority.certificate, "crl": authority.crl}
    assert pki.install(credentials, "fa21", files)
    before = _state(credentials)
    assert not pki.install(credentials, "fa21", files)
    assert pki.install(credentials, "fa21", {**files, "crl": "other\n"})
    assert _state(credentials) == {**before, "x509crl/roamvpn.pem": b"other\n"}
    assert {path.stat().st_mode & 0o777 for path in credentials.glob("x509*/*")} == {0o644}


def test_only_our_own_files_are_removed(credentials: Path, authority: Authority) -> None:
    certificate = _issued(authority, _request(credentials))
    files = {"certificate": certificate, "authority": authority.certificate, "crl": authority.crl}
    pki.install(credentials, "fa21", files)
    _request(credentials, fresh=True)
    other = credentials / "private/of-somebody-else.pem"
    other.write_text("theirs\n")
    gone = pki.remove(credentials, "fa21")
    assert len(gone) == 5
    assert _state(credentials) == {"private/of-somebody-else.pem": b"theirs\n"}
    assert pki.remove(credentials, "fa21") == []


@pytest.mark.parametrize("gateway", ["", "../../etc/passwd", "/etc/passwd", "a/b", "a\n", "Fa21", "a" * 32])
def test_a_gateway_without_a_gateways_name_has_no_files(credentials: Path, gateway: str) -> None:
    with pytest.raises(GatewayError, match="not the name of a gateway"):
        pki.request(credentials, gateway, list(NAMES), fresh=True)
    with pytest.raises(GatewayError, match="not the name of a gateway"):
        pki.install(credentials, gateway, {"certificate": "x"})
    with pytest.raises(GatewayError, match="not the name of a gateway"):
        pki.remove(credentials, gateway)
    assert _state(credentials) == {}
