from __future__ import annotations

import io
import json
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


@pytest.mark.parametrize("name", ["pending.json", "history.json", "former.json"])
def test_a_broken_file_is_an_error_with_its_name(store: Generations, name: str) -> None:
    (store.home / name).write_text("{")
    with pytest.raises(GatewayError, match=name):
        {"pending.json": store.pending, "history.json": store.history, "former.json": store.former}[name]()


@pytest.mark.parametrize("digest", ["", "..", "../../etc", "0123", "g" * 32, "0" * 65])
def test_what_is_no_digest_is_no_path(store: Generations, digest: str) -> None:
    with pytest.raises(GatewayError, match="not a digest"):
        store.path(digest)


def test_a_manifest_is_json_of_our_kind(store: Generations, bundle: Bundle) -> None:
    def change(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return member, json.dumps([1]).encode() if member.name == "manifest.json" else content

    with pytest.raises(GatewayError, match="missing or unreadable"):
        store.unpack(_rewritten(bundle, change), bundle.digest, "fa21")
