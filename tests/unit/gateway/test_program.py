"""roamvpn-gateway as a gateway has it: one file, run by a bare Python, here on a directory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from roamvpn.stores.program import gateway_program, program_digest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.gateway.conftest import Bundle


class Stand:
    """A directory that stands for a gateway."""

    def __init__(self, work: Path) -> None:
        self.root = work / "root"
        self.root.mkdir()
        self.program = work / "roamvpn-gateway"
        self.program.write_bytes(gateway_program())

    def call(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-I", str(self.program), "--root", str(self.root), *arguments],
            input=stdin, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stderr == b""
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    def apply(self, bundle: Bundle, *arguments: str, code: int = 0) -> dict[str, object]:
        words = ["apply", "--bundle", "--digest", bundle.digest, "--gateway", bundle.gateway, *arguments]
        return self.call(*words, stdin=bundle.content, code=code)


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def test_the_program_is_the_same_bytes_each_time_and_nothing_else() -> None:
    names = zipfile.ZipFile(io.BytesIO(gateway_program())).namelist()
    gateway_program.cache_clear()
    assert zipfile.ZipFile(io.BytesIO(gateway_program())).namelist() == names
    assert {name.split("/")[0] for name in names} == {"__main__.py", "roamvpn"}
    assert all(
        name.startswith(("roamvpn/gateway/", "roamvpn/render/", "roamvpn/__init__", "__main__")) for name in names
    )


def test_it_tells_its_own_version(stand: Stand) -> None:
    assert stand.call("status")["program"] == program_digest()


def test_a_bundle_is_activated_once(stand: Stand, bundle: Bundle) -> None:
    first = stand.apply(bundle, "--expected", "")
    assert (first["changed"], first["digest"], first["before"]) == (True, bundle.digest, None)
    assert stand.apply(bundle, "--expected", "")["changed"] is False
    assert stand.call("status")["history"] == [bundle.digest]


def test_a_trial_changes_nothing(stand: Stand, bundle: Bundle) -> None:
    assert stand.apply(bundle, "--check")["changed"] is True
    assert stand.call("status")["digest"] is None
    assert not list(stand.root.rglob("*.conf"))


def test_another_generation_than_the_expected_one_is_refused(stand: Stand, bundle: Bundle) -> None:
    answer = stand.apply(bundle, "--expected", "0123456789ab", code=1)
    assert answer["step"] == "preflight"
    assert "runs generation none, planned against 0123456789ab" in str(answer["error"])


def test_a_bundle_for_another_gateway_is_refused(stand: Stand, bundle: Bundle) -> None:
    words = ["apply", "--bundle", "--digest", bundle.digest, "--gateway", "ha31"]
    assert stand.call(*words, stdin=bundle.content, code=1)["step"] == "unpack"
    assert stand.call("status")["digest"] is None


def test_what_runs_can_be_fetched(stand: Stand, bundle: Bundle, tmp_path: Path) -> None:
    stand.apply(bundle)
    out = tmp_path / "fetched"
    assert stand.call("fetch", "--out", str(out))["digest"] == bundle.digest
    assert out.stat().st_mode & 0o777 == 0o600


def test_drift_of_files_is_found_and_repaired(stand: Stand, bundle: Bundle) -> None:
    stand.call("setup", "--hardening")
    stand.apply(bundle)
    assert stand.call("verify")["drift"] == []
    current = stand.root / "var/lib/roamvpn/current/base"
    (current / "qos.tc").write_text("# edited\n")
    (current / "sysctl.conf").unlink()
    (current / "legs").mkdir(exist_ok=True)
    (current / "legs/foreign.conf").write_text("# foreign\n")
    drift = stand.call("verify", code=2)["drift"]
    assert isinstance(drift, list)
    assert [(row["object"], row["state"]) for row in drift] == [
        ("file base/qos.tc", "changed"),
        ("file base/sysctl.conf", "missing"),
        ("file base/legs/foreign.conf", "foreign"),
    ]
    assert stand.apply(bundle)["done"] == ["files"]
    assert stand.call("verify")["drift"] == []


def test_setup_writes_what_differs_and_the_first_settings_once(stand: Stand) -> None:
    first = stand.call("setup", "--hardening", stdin=b"# start\n")
    assert first["changed"] is True
    assert stand.call("setup", "--hardening", stdin=b"# other\n")["changed"] is False
    assert (stand.root / "var/lib/roamvpn/start.conf").read_text() == "# start\n"
    (stand.root / "etc/strongswan.d/roamvpn.conf").write_text("")
    assert stand.call("setup", "--check")["done"] == ["/etc/strongswan.d/roamvpn.conf"]
    assert (stand.root / "etc/strongswan.d/roamvpn.conf").read_text() == ""


def test_after_removal_nothing_is_left(stand: Stand, bundle: Bundle) -> None:
    stand.call("setup", "--hardening")
    stand.call("request", "--gateway", "fa21", "--identity", "fa21.isp2.example")
    stand.apply(bundle)
    assert stand.call("remove", "--gateway", "fa21")["changed"] is True
    assert [path for path in stand.root.rglob("*") if not path.is_dir()] == []
    assert stand.call("remove", "--gateway", "fa21")["changed"] is False


def test_going_back_needs_an_earlier_generation(stand: Stand, bundle: Bundle) -> None:
    stand.apply(bundle)
    assert "no earlier generation" in str(stand.call("previous", code=1)["error"])


def test_a_private_key_is_made_once_and_never_told(stand: Stand) -> None:
    words = ["request", "--gateway", "fa21", "--identity", "fa21.isp2.example", "--identity", "ah.fa21.isp2.example"]
    first = stand.call(*words)
    assert first["changed"] is True
    assert str(first["request"]).startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert "PRIVATE" not in json.dumps(first)
    (key,) = (stand.root / "etc/swanctl/private").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    content = key.read_bytes()
    assert stand.call(*words)["changed"] is False
    assert key.read_bytes() == content


def test_a_fresh_key_waits_for_its_certificate(stand: Stand) -> None:
    words = ["request", "--gateway", "fa21", "--identity", "fa21.isp2.example"]
    stand.call(*words)
    stand.call("install", "--gateway", "fa21", stdin=json.dumps({"certificate": "one\n"}).encode())
    private = stand.root / "etc/swanctl/private/fa21.pem"
    first = private.read_bytes()
    stand.call(*words, "--fresh")
    assert private.read_bytes() == first
    answer = stand.call("install", "--gateway", "fa21", stdin=json.dumps({"certificate": "two\n"}).encode())
    assert answer["changed"] is True
    assert private.read_bytes() != first


@pytest.mark.parametrize("identity", ["", "a b", "--san", "x\ny", "é.example"])
def test_an_odd_identity_never_reaches_a_command(stand: Stand, identity: str) -> None:
    answer = stand.call("request", "--gateway", "fa21", f"--identity={identity}", code=1)
    assert answer["step"] == "pki"
