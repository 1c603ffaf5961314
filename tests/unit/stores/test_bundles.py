"""Bundles: the same bytes for the same content; hostile ones are read in memory and go nowhere."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from roamvpn.plan.compare import compare
from roamvpn.stores.bundles import BundleSide, pack, write_bundles
from roamvpn.stores.tree import write_tree
from roamvpn.tables.problems import RoamvpnError
from tests.documents import Documents
from tests.one_vpn import SITE_KEY, side, with_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.plan.sides import RenderedSide


@pytest.fixture
def example() -> RenderedSide:
    return side(with_secrets(Documents()).site())


@pytest.fixture
def tree(example: RenderedSide, tmp_path: Path) -> Path:
    write_tree(tmp_path / "tree", example, "small")
    return tmp_path / "tree"


def test_a_bundle_has_what_the_manifest_names_owned_by_root_without_times(tree: Path) -> None:
    (tree / "fa21" / "stray").write_text("x")
    with tarfile.open(fileobj=io.BytesIO(pack(tree / "fa21"))) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert "stray" not in {member.name for member in members}
    for member in members:
        assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
        assert member.isfile()
        assert member.mode == (0o600 if "/secrets/" in member.name else 0o644)


def test_the_same_content_gives_the_same_bytes(example: RenderedSide, tree: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "other", example, "small")
    assert pack(tree / "ha31") == pack(tmp_path / "other" / "ha31")


def test_bundles_are_private_and_replaced_in_one_step(tree: Path, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    (tmp_path / "bundles").mkdir()
    (bundles / ".fa21.tar").write_text("left by a run that was killed")
    written = write_bundles(tree, bundles)
    assert {path.stem for path in written} == {path.parent.name for path in tree.glob("*/manifest.json")}
    assert {path.name for path in bundles.iterdir()} == {path.name for path in written}
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}


def test_a_fleet_equals_its_bundles(example: RenderedSide, tree: Path, tmp_path: Path) -> None:
    write_bundles(tree, tmp_path / "bundles")
    assert compare(BundleSide(tmp_path / "bundles", SITE_KEY), example).gateways == ()


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_members_that_leave_the_directory_are_never_written(tree: Path, tmp_path: Path) -> None:
    manifest = (tree / "fa21" / "manifest.json").read_bytes()
    link = tarfile.TarInfo("base/qos.tc")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    _tar(
        bundles / "fa21.tar",
        (tarfile.TarInfo("manifest.json"), manifest),
        (tarfile.TarInfo("../../evil"), b"x"),
        (tarfile.TarInfo("/tmp/evil"), b"x"),  # noqa: S108 - a name that must not be used
        (link, b""),
    )
    found = BundleSide(bundles, SITE_KEY)
    assert dict(found.sources("fa21")) == {}
    assert sorted(path.name for path in tmp_path.rglob("*evil*")) == []


@pytest.mark.parametrize(
    "content", [b"", b"no tar", b"\x1f\x8b\x08\x00", b"x" * 4096], ids=["empty", "text", "gzip", "block"]
)
def test_what_is_no_bundle_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "fa21.tar").write_bytes(content)
    with pytest.raises(RoamvpnError, match="is not a bundle"):
        BundleSide(tmp_path)


def test_a_bundle_that_was_cut_is_refused_or_shows_what_is_gone(tree: Path, tmp_path: Path) -> None:
    whole = pack(tree / "fa21")
    for length in range(0, len(whole), 1536):
        (tmp_path / "fa21.tar").write_bytes(whole[:length])
        try:
            found = BundleSide(tmp_path, SITE_KEY)
        except RoamvpnError:
            continue
        assert all(not source.startswith("edited") for source in found.sources("fa21").values())


def test_a_bundle_under_another_name_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "fa22.tar").write_bytes(pack(tree / "fa21"))
    with pytest.raises(RoamvpnError, match="is the bundle of fa21"):
        BundleSide(tmp_path)


def test_a_member_that_was_edited_shows(example: RenderedSide, tree: Path, tmp_path: Path) -> None:
    path = tree / "fa21" / "base" / "links.ip"
    path.write_text("# nothing\n")
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "fa21.tar").write_bytes(pack(tree / "fa21"))
    (plan,) = compare(BundleSide(tmp_path / "bundles", SITE_KEY), example, ["fa21"]).gateways
    assert [change.path for change in plan.changes] == ["base/links.ip"]
    assert plan.changes[0].before == "# nothing\n"


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RoamvpnError, match="no such directory"):
        BundleSide(tmp_path / "none")
