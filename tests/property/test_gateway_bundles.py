"""Bundles of any kind are unpacked whole, or refused with nothing left on the disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.generations import MANIFEST, Generations

_FILES = {
    "swanctl.conf": b"# nothing\n",
    "base/links.ip": b"link add rv-own0 type xfrm if_id 400001\n" * 30,
    "session/secrets/rv-p1.conf": b"secrets {\n}\n",
}
Member = tuple[tarfile.TarInfo, bytes]


def _manifest(files: dict[str, bytes], gateway: str = "fa21") -> tuple[str, bytes]:
    """Digest and text of a manifest that fits."""
    entries = {
        path: {
            "mode": "0600" if "/secrets/" in path else "0644",
            "source": hashlib.sha256(content).hexdigest()[:32],
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for path, content in files.items()
    }
    rows = "".join(f"{path}\x00{entry['mode']}\x00{entry['source']}\n" for path, entry in sorted(entries.items()))
    digest = hashlib.sha256(rows.encode()).hexdigest()[:32]
    return digest, json.dumps({"gateway": gateway, "digest": digest, "files": entries}).encode()


_DIGEST, _MANIFEST = _manifest(_FILES)


def _member(name: str, content: bytes, **fields: object) -> Member:
    found = tarfile.TarInfo(name)
    found.size = len(content)
    for key, value in fields.items():
        setattr(found, key, value)
    return found, content


def _members() -> list[Member]:
    return [_member(MANIFEST, _MANIFEST), *(_member(path, content) for path, content in _FILES.items())]


def _tar(members: list[Member], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


_GOOD = _tar(_members())


def _unpacked(bundle: bytes, digest: str = _DIGEST, gateway: str = "fa21") -> dict[str, bytes] | None:
    """What stands on the disk after it was taken; None where it was refused and nothing is there."""
    with tempfile.TemporaryDirectory() as work:
        home = Path(work, "gateway", "home")
        store = Generations(home)
        told, step = None, ""
        with store.locked("the test"):
            try:
                told = store.unpack(bundle, digest, gateway)
            except GatewayError as error:
                step = error.step
        if told is None:
            assert step in ("unpack", "preflight")
            assert [path for path in Path(work).rglob("*") if not path.is_dir()] == [home / "lock"]
            assert list(home.glob("generations/*")) == []
            return None
        root = store.path(digest)
        assert not [path for path in Path(work).rglob("*") if path.is_symlink()]
        assert {path for path in Path(work).rglob("*") if path.is_file()} == {
            home / "lock",
            *(root / path for path in told),
        }
        found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        assert told == {path: hashlib.sha256(content).hexdigest() for path, content in found.items()}
        return found


def test_the_bundle_that_others_are_made_from_is_taken() -> None:
    assert _unpacked(_GOOD) == {MANIFEST: _MANIFEST, **_FILES}


_PRINTED = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
_OUTSIDE = ["../x", "../../x", "/x", "./x", "base/../x", "base/../../x", "//x", "..", "."]
_ODD = ["base/", "base/.x", "base/x.", "base/x.C", "a/b/c/d/e", "base//x", "~/x", "1x", "Base/x", "base/x\n"]
_HOSTILE_NAMES = st.sampled_from([*_OUTSIDE, *_ODD]) | st.builds("base/{}".format, _PRINTED)
_LINKS = st.sampled_from(["/etc/passwd", "../../etc/passwd", MANIFEST, "base/links.ip", "", "."])
_TYPES = [
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
]


@given(_HOSTILE_NAMES, st.integers(0, len(_FILES) + 1), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_a_member_of_an_odd_name_is_refused(name: str, place: int, form: int) -> None:
    members = _members()
    members.insert(place, _member(name, b"x"))
    assert _unpacked(_tar(members, form)) is None


@given(_HOSTILE_NAMES)
def test_an_odd_name_is_refused_if_the_manifest_has_it_too(name: str) -> None:
    # names that are merely new are taken when the manifest names them
    files = {**_FILES, name: b"x"}
    digest, manifest = _manifest(files)
    members = [_member(MANIFEST, manifest), *(_member(path, content) for path, content in files.items())]
    found = _unpacked(_tar(members), digest)
    assert found is None or (name.isascii() and ".." not in name and found[name] == b"x")


@given(
    st.sampled_from(_TYPES),
    st.sampled_from(["base/other.conf", *_FILES, MANIFEST]),
    _LINKS,
    st.integers(0, len(_FILES) + 1),
)
def test_links_devices_and_directories_are_refused(kind: bytes, name: str, target: str, place: int) -> None:
    members = [member for member in _members() if member[0].name != name or name == MANIFEST]
    members.insert(min(place, len(members)), _member(name, b"", type=kind, linkname=target, devmajor=1, devminor=3))
    assert _unpacked(_tar(members)) is None


@given(st.sampled_from([MANIFEST, *_FILES]), st.booleans(), st.integers(0, len(_FILES) + 1))
def test_a_name_that_comes_twice_is_refused(name: str, other: bool, place: int) -> None:
    members = _members()
    content = next(content for member, content in members if member.name == name)
    members.insert(place, _member(name, b"other" if other else content))
    assert _unpacked(_tar(members)) is None


@given(st.sampled_from([MANIFEST, *_FILES]))
def test_a_file_that_is_missing_is_refused(name: str) -> None:
    assert _unpacked(_tar([member for member in _members() if member[0].name != name])) is None


@given(st.sampled_from(sorted(_FILES)), st.binary(max_size=50))
def test_a_file_of_other_content_is_refused(name: str, content: bytes) -> None:
    members = [_member(member.name, content if member.name == name else whole) for member, whole in _members()]
    assert (_unpacked(_tar(members)) is None) == (content != _FILES[name])


@given(st.text("0123456789abcdef", min_size=12, max_size=64), st.sampled_from(["fa21", "fa22", "", "FA21", "fa21 "]))
@example(_DIGEST, "fa22")
@example(_DIGEST, "fa21")
@example(_DIGEST[:31], "fa21")
@example(_DIGEST + "0", "fa21")
def test_another_digest_or_gateway_is_refused(digest: str, gateway: str) -> None:
    assert (_unpacked(_GOOD, digest, gateway) is None) == ((digest, gateway) != (_DIGEST, "fa21"))


@given(st.sampled_from(["mode", "source", "sha256"]), st.sampled_from(sorted(_FILES)), st.text("0123456789abcdef"))
def test_a_manifest_that_was_edited_is_refused(key: str, path: str, text: str) -> None:
    manifest = json.loads(_MANIFEST)
    manifest["files"][path][key] = text
    members = [_member(MANIFEST, json.dumps(manifest).encode()), *_members()[1:]]
    assert _unpacked(_tar(members)) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["mode", "sha256", "x"]), inner),
    max_leaves=6,
)


@given(st.sampled_from(["files", "digest", "gateway", "base/links.ip", ""]), _JSON)
def test_a_manifest_of_another_shape_is_refused(key: str, value: object) -> None:
    manifest = json.loads(_MANIFEST)
    if key in _FILES:
        manifest["files"][key] = value
    else:
        manifest = {**manifest, key: value} if key else value
    members = [_member(MANIFEST, json.dumps(manifest).encode()), *_members()[1:]]
    assert _unpacked(_tar(members)) is None


@given(st.integers(0, len(_GOOD) - 1), st.booleans())
def test_a_bundle_that_was_cut_is_refused_or_whole(length: int, packed: bool) -> None:
    cut = _GOOD[:length]
    if packed:
        whole = gzip.compress(_GOOD, mtime=0)
        assert _unpacked(whole[: length * len(whole) // len(_GOOD)]) is None
    # of what was cut behind the last file nothing is missed
    assert _unpacked(cut) in (None, {MANIFEST: _MANIFEST, **_FILES})


@given(st.lists(st.tuples(st.integers(0, len(_GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.booleans())
def test_damaged_bytes_are_refused_or_harmless(damage: list[tuple[int, int]], packed: bool) -> None:
    content = bytearray(gzip.compress(_GOOD, mtime=0) if packed else _GOOD)
    for position, byte in damage:
        content[position % len(content)] = byte
    found = _unpacked(bytes(content))
    if found is not None:
        # modes, times and the spelling of the manifest are no content
        assert {path: body for path, body in found.items() if path != MANIFEST} == _FILES


@given(st.binary(max_size=2000))
@example(b"\x1f\x8b" + b"\0" * 100)
@example(b"BZh9" + b"\0" * 100)
@example(b"\xfd7zXZ\0" + b"\0" * 100)
def test_any_bytes_are_refused(content: bytes) -> None:
    assert _unpacked(content) is None


@pytest.mark.parametrize("size", [16 << 20, (16 << 20) + 1])
def test_a_member_above_its_measure_is_refused(tmp_path: Path, size: int) -> None:
    files = {"base/large.conf": bytes(size)}
    digest, manifest = _manifest(files)
    bundle = gzip.compress(_tar([_member(MANIFEST, manifest), _member("base/large.conf", bytes(size))]), 1)
    store = Generations(tmp_path)
    if size > 16 << 20:
        with pytest.raises(GatewayError, match=r"base/large\.conf: too large"):
            store.unpack(bundle, digest, "fa21")
        assert list(tmp_path.iterdir()) == []
    else:
        assert set(store.unpack(bundle, digest, "fa21")) == {MANIFEST, *files}
