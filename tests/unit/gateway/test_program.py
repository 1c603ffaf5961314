"""roamvpn-gateway as a gateway has it: one file, run by a bare Python, here on a directory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from roamvpn import gateway
from roamvpn.gateway.generations import Generations
from roamvpn.stores.program import gateway_program, program_digest, write_program

if TYPE_CHECKING:
    from collections.abc import Callable

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


def test_the_program_has_the_gateways_side_and_nothing_else() -> None:
    here = Path(gateway.__file__).parent
    names = zipfile.ZipFile(io.BytesIO(gateway_program())).namelist()
    assert sorted(names) == sorted(
        [
            "__main__.py",
            "roamvpn/__init__.py",
            "roamvpn/render/__init__.py",
            "roamvpn/render/swanctl.py",
            *(f"roamvpn/gateway/{path.name}" for path in here.glob("*.py")),
        ]
    )


def test_the_program_is_the_same_bytes_wherever_and_whenever_it_is_made() -> None:
    code = "import sys; from roamvpn.stores.program import gateway_program; sys.stdout.buffer.write(gateway_program())"
    environment = {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "1"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment).stdout
    assert other == gateway_program()
    gateway_program.cache_clear()
    assert gateway_program() == other


def test_the_program_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "roamvpn-gateway"
    write_program(path)
    first = path.stat()
    assert first.st_mode & 0o777 == 0o755
    write_program(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    path.write_bytes(b"an older one")
    write_program(path)
    assert path.read_bytes() == gateway_program()
    assert [found.name for found in tmp_path.iterdir()] == ["roamvpn-gateway"]


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


@pytest.mark.parametrize("identity", ["", "a b", "--san", "x\ny", "é.example"])
def test_an_odd_identity_never_reaches_a_command(stand: Stand, identity: str) -> None:
    answer = stand.call("request", "--gateway", "fa21", f"--identity={identity}", code=1)
    assert answer["step"] == "pki"


@pytest.mark.parametrize("sent", [b"", b"{", b"[" * 100_000, b"[]", b'"text"', b'{"crl": 1}', b"\xff"])
def test_what_is_to_be_installed_is_an_object_of_texts(stand: Stand, sent: bytes) -> None:
    assert stand.call("install", "--gateway", "fa21", stdin=sent, code=1)["step"] == "pki"
    assert list(stand.root.iterdir()) == []


def test_a_bare_gateway_has_nothing(stand: Stand, tmp_path: Path) -> None:
    assert stand.call("status") == {"digest": None, "history": [], "pending": None, "program": program_digest()}
    assert stand.call("fetch", "--out", str(tmp_path / "out"))["digest"] is None
    assert not (tmp_path / "out").exists()
    assert stand.call("verify") == {"digest": None, "drift": []}
    assert stand.call("previous", code=1) == {
        "error": "preflight: there is no earlier generation on this gateway",
        "step": "preflight",
    }


def test_a_file_that_is_there_is_not_fetched_over(stand: Stand, bundle: Bundle, tmp_path: Path) -> None:
    stand.apply(bundle)
    out = tmp_path / "fetched"
    out.write_text("precious")
    assert stand.call("fetch", "--out", str(out), code=1)["step"] == "system"
    assert out.read_text() == "precious"


def test_what_was_fetched_can_be_applied_elsewhere(stand: Stand, bundle: Bundle, tmp_path: Path) -> None:
    stand.apply(bundle)
    stand.call("fetch", "--out", str(tmp_path / "fetched"))
    other = tmp_path / "other"
    other.mkdir()
    answer = Stand(other).apply(bundle._replace(content=(tmp_path / "fetched").read_bytes()))
    assert (answer["changed"], answer["digest"]) == (True, bundle.digest)


def test_a_generation_goes_and_comes_back_from_disk(
    stand: Stand, bundle: Bundle, changed: Callable[[str], Bundle]
) -> None:
    other = changed("net/ipv4/ip_forward = 1\n")
    stand.apply(bundle, "--expected", "")
    assert stand.apply(other, "--expected", bundle.digest)["before"] == bundle.digest
    assert stand.call("previous")["digest"] == bundle.digest
    words = ["apply", "--digest", bundle.digest, "--gateway", "fa21", "--expected", other.digest]
    assert stand.call(*words)["changed"] is True
    assert stand.call("status")["history"] == [bundle.digest, other.digest, bundle.digest]
    assert stand.call("previous")["digest"] == other.digest
    assert stand.call("verify", code=2)["digest"] == bundle.digest


def test_a_refused_bundle_leaves_the_current_generation(
    stand: Stand, bundle: Bundle, changed: Callable[[str], Bundle]
) -> None:
    stand.apply(bundle)
    other = changed("net/ipv4/ip_forward = 1\n")
    before = {path: path.read_bytes() for path in stand.root.rglob("*") if path.is_file() and path.name != "lock"}
    refusals = [
        stand.apply(other, "--expected", other.digest[::-1], code=1),
        stand.apply(other._replace(content=other.content[:-5000]), code=1),
        stand.apply(other._replace(gateway="ha31"), code=1),
        stand.apply(other._replace(digest="0" * 32), code=1),
        stand.call("apply", "--digest", other.digest, "--gateway", "fa21", code=1),
        stand.call("apply", "--digest", "../../etc", "--gateway", "fa21", code=1),
    ]
    assert [answer["step"] for answer in refusals] == ["preflight", *["unpack"] * 3, *["preflight"] * 2]
    assert all(set(answer) == {"error", "step"} for answer in refusals)
    after = {path: path.read_bytes() for path in stand.root.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


def test_somebody_at_work_is_told_by_the_program(stand: Stand, bundle: Bundle) -> None:
    with Generations(stand.root / "var/lib/roamvpn").locked("ann@there"):
        answer = stand.apply(bundle, code=1)
    assert answer == {"error": "lock: ann@there is changing this gateway", "step": "lock"}
    assert stand.call("status")["digest"] is None


def test_a_holder_of_any_bytes_is_no_obstacle(stand: Stand, bundle: Bundle) -> None:
    words = ["apply", "--bundle", "--digest", bundle.digest, "--gateway", "fa21"]
    done = subprocess.run(
        [sys.executable, "-I", str(stand.program), "--root", str(stand.root), "--holder", b"\xff\xfe", *words],
        input=bundle.content, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_generation_without_its_note_does_not_stay(stand: Stand, bundle: Bundle) -> None:
    home = stand.root / "var/lib/roamvpn"
    home.mkdir(parents=True)
    (home / "notes").write_text("in the way")
    assert stand.apply(bundle, code=1)["step"] == "system"
    assert list((home / "generations").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "command"),
    [("history.json", "status"), ("history.json", "previous"), ("pending.json", "status"), ("notes", "verify")],
)
@pytest.mark.parametrize("text", ['{"a": 1}', "[" * 100_000], ids=["other", "deep"])
def test_a_damaged_file_of_ours_is_named(stand: Stand, bundle: Bundle, name: str, command: str, text: str) -> None:
    stand.apply(bundle)
    path = stand.root / "var/lib/roamvpn" / (f"notes/{bundle.digest}.json" if name == "notes" else name)
    path.write_text(text)
    answer = stand.call(command, code=1)
    assert answer["step"] == "read"
    assert str(path) in str(answer["error"])


def test_the_programs_own_file_goes_with_it(stand: Stand, bundle: Bundle) -> None:
    own = stand.root / "usr/local/sbin/roamvpn-gateway"
    own.parent.mkdir(parents=True)
    own.write_bytes(gateway_program())
    stand.apply(bundle)
    answer = stand.call("remove", "--gateway", "fa21")
    assert (answer["changed"], answer["before"]) == (True, bundle.digest)
    assert not own.exists()
    assert not (stand.root / "var/lib/roamvpn").exists()
