"""Trees on disk: what stays is linked, what changes is written, and nothing foreign is touched."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from typing import TYPE_CHECKING

import pytest

from roamvpn.plan.compare import compare
from roamvpn.render.manifest import MANIFEST, content_digest, parse
from roamvpn.stores import tree as trees
from roamvpn.stores.tree import INDEX, DirectorySide, write_file, write_tree
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
def changed() -> RenderedSide:
    documents = with_secrets(Documents())
    documents.record(2).update(upclass="ef")
    return side(documents.site())


def _inodes(root: Path) -> dict[str, int]:
    return {path.relative_to(root).as_posix(): path.stat().st_ino for path in root.rglob("*") if path.is_file()}


def test_a_tree_has_an_index_and_a_manifest_for_each_gateway(example: RenderedSide, tmp_path: Path) -> None:
    written = write_tree(tmp_path / "out", example, "small")
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["site"] == "small"
    count = 0
    for gateway in example.gateways():
        manifest = parse((tmp_path / "out" / gateway / MANIFEST).read_text())
        assert index["gateways"][gateway] == manifest.digest
        for path, entry in manifest.files.items():
            file = tmp_path / "out" / gateway / path
            assert f"{file.stat().st_mode & 0o7777:04o}" == entry.mode
            # a secret's digest needs the site's key: a manifest is no place to try guesses
            assert (entry.sha256 is None) == ("/secrets/" in path)
            assert entry.sha256 in (None, content_digest(file.read_bytes()))
            if "/secrets/" in path:
                assert file.parent.stat().st_mode & 0o7777 == 0o700
            count += 1
    assert (written.rendered, written.kept) == (count, 0)


def test_a_second_render_keeps_every_file_and_changes_no_byte(example: RenderedSide, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    written = write_tree(out, side(with_secrets(Documents()).site()), "small")
    assert written.rendered == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_what_stays_is_the_same_file_and_what_changes_is_another(
    example: RenderedSide, changed: RenderedSide, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    before = _inodes(out)
    written = write_tree(out, changed, "small")
    after = _inodes(out)
    fresh = {path for path in after if before.get(path) != after[path] and not path.endswith((MANIFEST, INDEX))}
    assert {path.split("/")[0] for path in fresh} == {"fa21"}
    assert written.rendered == len(fresh) == 1


def test_a_leg_that_goes_is_gone_from_the_tree(example: RenderedSide, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    assert list(out.glob("pcn41b/session/legs/rv-p7-*"))
    touched = example.fleet.deregister("frank@isp3.example")
    example.refresh(touched)
    write_tree(out, example, "small")
    assert not list(out.rglob("rv-p7-*"))


def test_a_file_that_was_edited_is_mended_and_so_is_one_that_is_gone(example: RenderedSide, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (leg,) = out.glob("fa21/session/legs/rv-p1-*")
    leg.write_text("# nothing\n")
    (secret,) = out.glob("fa21/session/secrets/rv-p1-*")
    secret.write_text("# nothing\n")
    (out / "fa21/base/qos.tc").unlink()
    plan = compare(DirectorySide(out, SITE_KEY), example)
    assert {change.path for entry in plan.gateways for change in entry.changes} == {
        leg.relative_to(out / "fa21").as_posix(),
        secret.relative_to(out / "fa21").as_posix(),
        "base/qos.tc",
    }
    assert write_tree(out, example, "small").rendered == 3
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_secret_that_others_were_let_read_is_written_anew(example: RenderedSide, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    (secret,) = out.glob("fa21/session/secrets/rv-p1-*")
    secret.chmod(0o644)
    assert write_tree(out, example, "small").rendered == 1
    assert secret.stat().st_mode & 0o777 == 0o600


def test_a_strict_umask_is_no_edit(example: RenderedSide, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write_tree(tmp_path / "out", example, "small")
        assert write_tree(tmp_path / "out", example, "small").rendered == 0
    finally:
        os.umask(old)


def test_a_file_that_no_manifest_names_goes_with_the_next_render(example: RenderedSide, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    (out / "fa21/session/legs/rv-stray.conf").write_text("connections { }\n")
    write_tree(out, example, "small")
    assert not (out / "fa21/session/legs/rv-stray.conf").exists()


def test_an_error_on_the_way_leaves_the_old_tree(
    example: RenderedSide, changed: RenderedSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    before = _inodes(out)
    calls = 0
    real = trees.create

    def failing(path: Path, content: bytes, mode: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, content, mode)

    monkeypatch.setattr(trees, "create", failing)
    with pytest.raises(OSError, match="No space left"):
        write_tree(out, changed, "small")
    assert _inodes(out) == before
    monkeypatch.undo()
    write_tree(out, changed, "small")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "out"]


def test_a_directory_with_other_files_and_a_link_are_refused(example: RenderedSide, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RoamvpnError, match="holds other files"):
        write_tree(tmp_path / "home", example, "small")
    for name in ("link", "file"):
        with pytest.raises(RoamvpnError, match="is not a directory"):
            write_tree(tmp_path / name, example, "small")
    assert (tmp_path / "home" / "letter").read_text() == "dear"


def test_an_empty_directory_is_taken(example: RenderedSide, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_tree(tmp_path / "out", example, "small")
    assert (tmp_path / "out" / INDEX).is_file()


def test_two_runs_at_once_are_one_too_many(example: RenderedSide, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / ".out.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(RoamvpnError, match="another run is writing it"):
        write_tree(tmp_path / "out", example, "small")
    os.close(descriptor)
    write_tree(tmp_path / "out", example, "small")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _text: "{}",
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        lambda text: text.replace('"mode": "0644"', '"mode": "4755"', 1),
        lambda text: text.replace('"session/', '"../session/', 1),
        lambda text: text.replace('"session/legs', '"/etc', 1),
        lambda text: text.replace('"gateway": "fa21"', '"gateway": "FA/21"'),
        lambda text: text.replace('"gateway"', '"gateway": "fa21", "extra"'),
    ],
    ids=["cut", "empty", "schema", "setuid", "parent", "absolute", "name", "extra"],
)
def test_a_manifest_that_does_not_hold_is_refused(example: RenderedSide, tmp_path: Path, damage: object) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    path = out / "fa21" / MANIFEST
    assert callable(damage)
    path.write_text(damage(path.read_text()))
    with pytest.raises(RoamvpnError, match=r"manifest\.json"):
        DirectorySide(out)


def test_a_manifest_that_is_no_text_is_refused(example: RenderedSide, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    (out / "fa21" / MANIFEST).write_bytes(b"\xff\xfe{}")
    with pytest.raises(RoamvpnError, match=r"manifest\.json"):
        DirectorySide(out)


def test_a_manifest_of_another_gateway_is_refused(example: RenderedSide, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    (out / "fa21" / MANIFEST).write_bytes((out / "fa22" / MANIFEST).read_bytes())
    with pytest.raises(RoamvpnError, match="is the manifest of fa22"):
        DirectorySide(out)


def test_without_the_key_an_edited_secret_is_taken_as_it_is(example: RenderedSide, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(out, example, "small")
    (secret,) = out.glob("fa21/session/secrets/rv-p1-*")
    name = secret.relative_to(out / "fa21").as_posix()
    known = example.sources("fa21")[name]
    secret.write_text("# nothing\n")
    assert DirectorySide(out).sources("fa21")[name] == known
    assert DirectorySide(out, SITE_KEY).sources("fa21")[name].startswith("edited ")


def test_a_single_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "fleet.svg"
    path.write_text("old")
    inode = path.stat().st_ino
    write_file(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_ino != inode
    assert list(tmp_path.iterdir()) == [path]
