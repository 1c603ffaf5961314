from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.generations import KEEP, Generations, Note, Pending

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.gateway.conftest import Bundle


@pytest.fixture
def store(tmp_path: Path) -> Generations:
    found = Generations(tmp_path / "home")
    with found.locked("the test"):
        pass
    return found


def _rewritten(
    bundle: Bundle, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(bundle.content)) as old, tarfile.open(fileobj=buffer, mode="w") as new:
        for member in old:
            stream = old.extractfile(member)
            made = change(member, stream.read() if stream is not None else b"")
            if made is not None:
                made[0].size = len(made[1])
                new.addfile(made[0], io.BytesIO(made[1]))
    return buffer.getvalue()


def _with(bundle: Bundle, **fields: object) -> bytes:
    """The bundle with one member more."""
    member = tarfile.TarInfo(str(fields.pop("name")))
    for key, value in fields.items():
        setattr(member, key, value)
    buffer = io.BytesIO(bundle.content)
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        tar.addfile(member, io.BytesIO(b""))
    return buffer.getvalue()


def test_a_bundle_comes_whole_with_its_modes(store: Generations, bundle: Bundle) -> None:
    files = store.unpack(bundle.content, bundle.digest, "fa21")
    root = store.path(bundle.digest)
    assert {path: (root / path).read_bytes() for path in files} == {
        path: (bundle.tree / path).read_bytes() for path in files
    }
    secret = next(root.glob("*/secrets/*.conf"))
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.parent.stat().st_mode & 0o777 == 0o700
    assert store.home.stat().st_mode & 0o777 == 0o700


def test_what_is_packed_again_is_what_came(store: Generations, bundle: Bundle) -> None:
    store.unpack(bundle.content, bundle.digest, "fa21")
    again = Generations(store.home.with_name("other"))
    again.unpack(store.pack(bundle.digest), bundle.digest, "fa21")


@pytest.mark.parametrize(
    "hostile",
    [
        {"name": "base/link", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"name": "base/link", "type": tarfile.LNKTYPE, "linkname": "manifest.json"},
        {"name": "base/device", "type": tarfile.CHRTYPE},
        {"name": "base/fifo", "type": tarfile.FIFOTYPE},
        {"name": "base/directory", "type": tarfile.DIRTYPE},
        {"name": "../escape"},
        {"name": "/etc/cron.d/evil"},
        {"name": "base/../../escape"},
        {"name": "base/a b"},
        {"name": "manifest.json"},
        {"name": "base/unlisted.conf"},
    ],
    ids=lambda hostile: f"{hostile['name']} {hostile.get('type', b'').decode()}",
)
def test_a_hostile_member_is_refused_and_nothing_is_left(
    store: Generations, bundle: Bundle, hostile: dict[str, object]
) -> None:
    with pytest.raises(GatewayError, match="unpack"):
        store.unpack(_with(bundle, **hostile), bundle.digest, "fa21")
    assert [path for path in store.home.rglob("*") if path.name != "lock" and path.is_file()] == []
    assert not (store.home.parent / "escape").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x1f\x8b\x08\x00"])
def test_what_is_no_tar_is_refused(store: Generations, bundle: Bundle, content: bytes) -> None:
    with pytest.raises(GatewayError, match="unpack"):
        store.unpack(content, bundle.digest, "fa21")


def test_a_cut_bundle_is_refused(store: Generations, bundle: Bundle) -> None:
    with pytest.raises(GatewayError, match="unpack"):
        store.unpack(bundle.content[: len(bundle.content) // 2], bundle.digest, "fa21")


def test_another_gateways_bundle_is_refused(store: Generations, bundle: Bundle) -> None:
    with pytest.raises(GatewayError, match="the bundle is for 'fa21', this gateway is 'ha31'"):
        store.unpack(bundle.content, bundle.digest, "ha31")


def test_another_generation_than_the_planned_one_is_refused(store: Generations, bundle: Bundle) -> None:
    with pytest.raises(GatewayError, match="planned was 0123456789ab"):
        store.unpack(bundle.content, "0123456789ab", "fa21")


def test_a_file_that_was_changed_on_the_way_is_refused(store: Generations, bundle: Bundle) -> None:
    def change(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return member, content + b"# more\n" if member.name == "base/qos.tc" else content

    with pytest.raises(GatewayError, match=r"base/qos\.tc: its content is not what the manifest says"):
        store.unpack(_rewritten(bundle, change), bundle.digest, "fa21")


def test_a_missing_file_is_refused(store: Generations, bundle: Bundle) -> None:
    with pytest.raises(GatewayError, match="manifest and bundle differ"):
        store.unpack(
            _rewritten(bundle, lambda member, content: None if member.name == "base/qos.tc" else (member, content)),
            bundle.digest,
            "fa21",
        )


def test_the_switch_is_a_link_and_its_history_is_kept(store: Generations) -> None:
    digests = [f"{number:012x}" for number in range(1, KEEP + 4)]
    for digest in digests:
        store.path(digest).mkdir(parents=True)
        store.keep(digest, Note({}, {}))
        store.switch(digest)
        store.record(digest)
    assert store.current() == digests[-1]
    assert store.previous() == digests[-2]
    assert sorted(path.name for path in (store.home / "generations").iterdir()) == digests[-KEEP:]
    assert sorted(path.stem for path in (store.home / "notes").iterdir()) == digests[-KEEP:]


def test_without_an_earlier_generation_there_is_none_to_go_back_to(store: Generations) -> None:
    with pytest.raises(GatewayError, match="no earlier generation"):
        store.previous()


def test_somebody_at_work_is_named(store: Generations) -> None:
    code = (
        "import sys; from pathlib import Path; from roamvpn.gateway.generations import Generations\n"
        "with Generations(Path(sys.argv[1])).locked('ann@there'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(GatewayError, match="ann@there is changing this gateway"), store.locked("me"):
            pass
        other.communicate("")
    with store.locked("me"):
        pass


def test_a_waiting_change_survives_the_process(store: Generations) -> None:
    pending = Pending("token", None, "0123456789ab", "ann", ["rv-x"])
    store.arm(pending)
    assert Generations(store.home).pending() == pending
    store.disarm()
    assert store.pending() is None


_DAMAGED = [b"{", b"", b"\xff\xfe", b"7", b'"text"', b"[[1]]", b'[{"a": 1}]', b"[" * 100_000]


@pytest.mark.parametrize(
    "content", [*_DAMAGED, b'{"token": "t"}', b'{"objects": {}}'], ids=lambda each: repr(each[:14])
)
@pytest.mark.parametrize("name", ["pending.json", "history.json", "former.json", "notes/0123456789ab.json"])
def test_a_damaged_file_is_an_error_with_its_name(store: Generations, name: str, content: bytes) -> None:
    readers: dict[str, Callable[[], object]] = {
        "pending.json": store.pending,
        "history.json": store.history,
        "former.json": store.former,
        "notes/0123456789ab.json": lambda: store.note("0123456789ab"),
    }
    store.keep("0123456789ab", Note({}, {}))
    (store.home / name).write_bytes(content)
    if name == "former.json" and content.startswith(b'{"'):
        # any names and values are settings
        assert len(store.former()) == 1
        return
    with pytest.raises(GatewayError, match=name) as caught:
        readers[name]()
    assert caught.value.step == "read"


@pytest.mark.parametrize("objects", [[], {"link rv-own0": "up"}])
def test_a_note_of_other_kinds_of_values_is_damaged(store: Generations, objects: object) -> None:
    store.keep("0123456789ab", Note({}, {}))
    (store.home / "notes/0123456789ab.json").write_text(json.dumps({"files": {}, "objects": objects}))
    with pytest.raises(GatewayError, match=r"0123456789ab\.json: is not as this program writes it"):
        store.note("0123456789ab")


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"files": 7}'])
def test_a_generation_without_a_manifest_is_not_packed(store: Generations, content: bytes) -> None:
    store.path("0123456789ab").mkdir(parents=True)
    (store.path("0123456789ab") / "manifest.json").write_bytes(content)
    with pytest.raises(GatewayError, match=r"manifest\.json"):
        store.pack("0123456789ab")


@pytest.mark.parametrize("digest", ["", "..", "../../etc", "0123", "g" * 32, "0" * 65])
def test_what_is_no_digest_is_no_path(store: Generations, digest: str) -> None:
    with pytest.raises(GatewayError, match="not a digest"):
        store.path(digest)


_ODD = {"digest": "0" * 32, "gateway": "fa21"}


@pytest.mark.parametrize(
    "manifest",
    [
        b"[1]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        json.dumps({**_ODD, "files": ["base/qos.tc"]}).encode(),
        json.dumps({**_ODD, "files": {"base/qos.tc": "0644"}}).encode(),
        json.dumps({**_ODD, "files": {"\ud800": {"mode": "0644"}}}).encode(),
    ],
    ids=lambda each: repr(each[-30:]),
)
def test_a_manifest_is_json_of_our_kind(store: Generations, bundle: Bundle, manifest: bytes) -> None:
    def change(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return member, manifest if member.name == "manifest.json" else content

    with pytest.raises(GatewayError, match="missing or unreadable"):
        store.unpack(_rewritten(bundle, change), bundle.digest, "fa21")


def _header(kind: bytes, size: int, name: str = "manifest.json") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def _with_record(record: bytes) -> bytes:
    """A tar whose one member has this record of its extended header."""
    body = record.ljust(512, b"\0")
    return _header(b"x", len(record), "x") + body + _header(b"0", 512) + b"zz\n".ljust(512) + bytes(1024)


@pytest.mark.parametrize(
    "content",
    [
        _header(b"0", -512) + bytes(1024),
        _header(b"0", (16 << 20) + 1) + bytes(1024),
        _header(b"0", 1 << 40) + bytes(1024),
        _header(b"x", -1024, "x") * 2 + bytes(1024),
        (_header(b"L", 2, "././@LongLink") + b"a".ljust(512, b"\0")) * 5000,
        _with_record(b"22 GNU.sparse.map=1,x\n"),
        _with_record(b"22 GNU.sparse.size=xx\n"),
        _with_record(b"99999999 path=x\n"),
        gzip.compress(_header(b"0", 512) + b"z" * 512)[:-12] + b"garbage-more",
        gzip.compress(bytes(4096))[:-9],
    ],
    ids=["negative", "large", "huge", "back", "names", "map", "size", "record", "damaged", "cut"],
)
def test_a_tar_that_was_made_to_hurt_is_refused(store: Generations, bundle: Bundle, content: bytes) -> None:
    with pytest.raises(GatewayError, match="unpack"):
        store.unpack(content, bundle.digest, "fa21")
    assert [path.name for path in store.home.iterdir()] == ["lock"]


def test_a_few_bytes_that_would_fill_the_memory_are_refused(store: Generations, bundle: Bundle) -> None:
    name = _header(b"L", 900 << 20, "././@LongLink")
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="w", compresslevel=1) as file:
        file.write(name)
        for _ in range(300):
            file.write(bytes(1 << 20))
    with pytest.raises(GatewayError, match="the bundle is too large"):
        store.unpack(buffer.getvalue(), bundle.digest, "fa21")


def test_a_compressed_bundle_is_taken(store: Generations, bundle: Bundle) -> None:
    assert store.unpack(gzip.compress(bundle.content), bundle.digest, "fa21")["manifest.json"]


def test_a_generation_that_is_there_is_replaced_whole(store: Generations, bundle: Bundle) -> None:
    store.unpack(bundle.content, bundle.digest, "fa21")
    root = store.path(bundle.digest)
    (root / "base/qos.tc").write_text("# edited\n")
    (root / "stray").write_text("x")
    # what a killed program left
    (root.with_name(f".{bundle.digest}") / "base").mkdir(parents=True)
    store.unpack(bundle.content, bundle.digest, "fa21")
    assert (root / "base/qos.tc").read_bytes() == (bundle.tree / "base/qos.tc").read_bytes()
    assert not (root / "stray").exists()
    assert [path.name for path in root.parent.iterdir()] == [bundle.digest]


# a file system of its own, small or with few inodes, for one process only; root of a user namespace may mount it
_FULL = """
import subprocess, sys
from pathlib import Path
from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.generations import Generations
place, digest, options = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=True)
store = Generations(Path(place) / "home")
try:
    with store.locked("me"):
        store.unpack(sys.stdin.buffer.read(), digest, "fa21")
except GatewayError as error:
    print(error)
print(sorted(path.name for path in (store.home / "generations").iterdir()))
"""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("size=256k", r"preflight: .* has \d+ KiB free; \d+ KiB are needed"),
        ("size=16m,nr_inodes=12", "unpack: No space left on device: "),
    ],
)
def test_a_full_disk_is_refused_and_nothing_is_left(tmp_path: Path, bundle: Bundle, options: str, reason: str) -> None:
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, "-c", _FULL, str(tmp_path), bundle.digest, options],
        input=bundle.content, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, left = done.stdout.decode().splitlines()
    assert re.match(reason, said), said
    assert left == "[]"


def test_a_disk_that_is_large_enough_is_taken(tmp_path: Path, bundle: Bundle) -> None:
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, "-c", _FULL, str(tmp_path), bundle.digest, "size=4m"],
        input=bundle.content, capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout.decode().splitlines() == [str([bundle.digest])], done.stderr


def test_pruning_takes_notes_and_what_was_left_behind(store: Generations) -> None:
    for digest in ("0123456789ab", "ba9876543210"):
        store.path(digest).mkdir(parents=True)
        store.keep(digest, Note({}, {}))
    (store.home / "generations/.0123456789ab").mkdir()
    store.prune({"ba9876543210"})
    assert [path.name for path in (store.home / "generations").iterdir()] == ["ba9876543210"]
    assert [path.name for path in (store.home / "notes").iterdir()] == ["ba9876543210.json"]


def test_a_generation_that_ran_once_is_not_discarded(store: Generations) -> None:
    store.switch("0123456789ab")
    store.record("0123456789ab")
    for digest in ("0123456789ab", "ba9876543210", "ccc000000000"):
        store.path(digest).mkdir(parents=True)
        store.keep(digest, Note({}, {}))
    store.switch("ba9876543210")
    for digest in ("0123456789ab", "ba9876543210", "ccc000000000"):
        store.discard(digest)
    assert sorted(path.name for path in (store.home / "generations").iterdir()) == ["0123456789ab", "ba9876543210"]
    assert sorted(path.stem for path in (store.home / "notes").iterdir()) == ["0123456789ab", "ba9876543210"]


def test_the_previous_generation_is_one_that_is_still_there(store: Generations) -> None:
    for digest in ("0123456789ab", "ba9876543210", "ccc000000000", "0123456789ab", "ccc000000000"):
        store.path(digest).mkdir(parents=True, exist_ok=True)
        store.switch(digest)
        store.record(digest)
    assert store.previous() == "0123456789ab"
    store.path("0123456789ab").rmdir()
    assert store.previous() == "ba9876543210"
    store.switch(None)
    assert store.current() is None
    assert store.previous() == "ccc000000000"


def test_the_history_has_an_end(store: Generations) -> None:
    digests = [f"{number:012x}" for number in range(60)]
    for digest in digests:
        store.path(digest).mkdir(parents=True)
        store.switch(digest)
        store.record(digest)
    assert store.history() == digests[-50:]


def test_former_settings_are_kept_until_they_are_restored(store: Generations) -> None:
    assert store.former() == {}
    store.keep_former({"net/ipv4/ip_forward": "0"})
    assert Generations(store.home).former() == {"net/ipv4/ip_forward": "0"}
    written = (store.home / "former.json").stat()
    store.keep_former({"net/ipv4/ip_forward": "0"})
    assert (store.home / "former.json").stat().st_ino == written.st_ino
    store.keep_former({})
    assert store.former() == {}


def test_a_generation_without_a_note_is_to_be_delivered_again(store: Generations) -> None:
    with pytest.raises(GatewayError, match="no note of generation 0123456789ab; deliver it again"):
        store.note("0123456789ab")


def test_one_who_waits_gets_the_lock_after_the_other(store: Generations) -> None:
    code = (
        "import sys; from pathlib import Path; from roamvpn.gateway.generations import Generations\n"
        "with Generations(Path(sys.argv[1])).locked('ben', wait=True): print('held', flush=True)"
    )
    with store.locked("ann"):
        other = subprocess.Popen([sys.executable, "-c", code, str(store.home)], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
    assert other.communicate(timeout=30)[0] == "held\n"
    assert (store.home / "lock").read_text() == "ben"
