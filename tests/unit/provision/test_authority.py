from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from roamvpn.provision.authority import Authority
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = ("fa21.isp2.example", "ah.fa21.isp2.example")


def _request(name: str = "anything at all") -> str:
    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, None)
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "pki", "example")
    with made.locked():
        made.prepare(NOW)
    return made


def test_a_certificate_has_the_names_of_the_tables_and_verifies(authority: Authority) -> None:
    issued = x509.load_pem_x509_certificate(authority.issue(_request("root.evil.example"), "fa21", NAMES, NOW).encode())
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names.get_values_for_type(x509.DNSName)) == NAMES
    assert issued.subject.rfc4514_string() == "CN=fa21.isp2.example"
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.encode()))
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_private_key_is_closed_from_the_start(authority: Authority) -> None:
    assert (authority.root / "ca.key").stat().st_mode & 0o777 == 0o600
    assert authority.root.stat().st_mode & 0o777 == 0o700


def test_a_certificate_is_renewed_when_thirty_days_are_left(authority: Authority) -> None:
    assert authority.lacks("fa21", NAMES, NOW)
    authority.issue(_request(), "fa21", NAMES, NOW)
    assert not authority.lacks("fa21", NAMES, NOW + timedelta(days=59))
    assert authority.lacks("fa21", NAMES, NOW + timedelta(days=61))


def test_a_certificate_is_renewed_when_its_names_change(authority: Authority) -> None:
    authority.issue(_request(), "fa21", NAMES, NOW)
    assert authority.lacks("fa21", ("fa21.isp7.example", "ah.fa21.isp7.example"), NOW)


def test_a_revoked_certificate_stands_in_the_crl(authority: Authority) -> None:
    before = authority.crl_digest
    issued = x509.load_pem_x509_certificate(authority.issue(_request(), "fa21", NAMES, NOW).encode())
    assert authority.revoke("fa21", NOW)
    listed = x509.load_pem_x509_crl(authority.crl.encode())
    assert listed.get_revoked_certificate_by_serial_number(issued.serial_number) is not None
    assert authority.crl_digest != before
    assert authority.lacks("fa21", NAMES, NOW)
    assert not authority.revoke("fa21", NOW)


def test_the_crl_is_made_again_before_it_is_too_old(authority: Authority) -> None:
    before = authority.crl_digest
    authority.prepare(NOW + timedelta(days=29))
    assert authority.crl_digest == before
    authority.prepare(NOW + timedelta(days=31))
    assert authority.crl_digest != before
    numbers = x509.load_pem_x509_crl(authority.crl.encode()).extensions.get_extension_for_class(x509.CRLNumber)
    assert numbers.value.crl_number == 2


def test_a_passphrase_closes_the_key(tmp_path: Path) -> None:
    made = Authority(tmp_path / "pki", "example", "correct horse")
    with made.locked():
        made.prepare(NOW)
    assert "ENCRYPTED" in (made.root / "ca.key").read_text()
    made.issue(_request(), "fa21", NAMES, NOW)
    for passphrase in ("", "wrong"):
        with pytest.raises(RoamvpnError, match="needs its passphrase") as caught:
            Authority(tmp_path / "pki", "example", passphrase).issue(_request(), "fa21", NAMES, NOW)
        assert "correct" not in str(caught.value)


@pytest.mark.parametrize(
    "request_text", ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
)
def test_what_is_no_request_is_refused(authority: Authority, request_text: str) -> None:
    with pytest.raises(RoamvpnError, match="fa21: its certificate request does not hold"):
        authority.issue(request_text, "fa21", NAMES, NOW)


def test_what_one_process_issued_another_one_knows(authority: Authority) -> None:
    other = Authority(authority.root, "example")
    authority.issue(_request(), "fa21", NAMES, NOW)
    with other.locked():
        other.issue(_request(), "ha31", ("ha31.isp3.example", "ah.ha31.isp3.example"), NOW)
    assert set(Authority(authority.root, "example").index.issued) == {"fa21", "ha31"}
