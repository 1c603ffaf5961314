"""What comes back from gateways is hostile: links, files that no manifest names, bytes that move a cursor."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from roamvpn.engine import Engine, open_site
from roamvpn.plan.compare import Action, compare
from roamvpn.plan.report import diff_text, report
from roamvpn.stores.bundles import BundleSide, write_bundles
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.tree import DirectorySide, write_tree
from roamvpn.tables.problems import RoamvpnError
from tests.documents import Documents

if TYPE_CHECKING:
    from pathlib import Path

_EVIL = "connections {\n  evil {\n    remote_addrs = 192.0.2.66\n  }\n}\n# \x1b[2J\x07\n"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    site = tmp_path / "site"
    site.mkdir()
    documents = Documents()
    for name, text in documents.texts().items():
        (site / name).write_text(text)
    complete_secrets(site / "secrets.yml", documents.site().tables)
    return open_site(site)


@pytest.fixture
def tree(engine: Engine, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    write_tree(out, engine.side, "example")
    return out


def _diff(engine: Engine, before: DirectorySide | BundleSide) -> tuple[set[tuple[str, Action]], str]:
    plan = compare(before, engine.side)
    changes = {(change.path, change.action) for gateway in plan.gateways for change in gateway.changes}
    return changes, diff_text(report(plan, site="x", against="y", warnings=[], mask_key=None))


def test_a_connection_that_no_manifest_names_shows_as_removed(engine: Engine, tree: Path) -> None:
    (tree / "fa21/session/legs/evil.conf").write_text(_EVIL)
    changes, text = _diff(engine, DirectorySide(tree))
    assert changes == {("session/legs/evil.conf", Action.REMOVED)}
    assert "-    remote_addrs = 192.0.2.66" in text
    # and rendering again leaves it behind
    write_tree(tree, engine.side, "example")
    assert _diff(engine, DirectorySide(tree))[0] == set()


def test_bytes_that_move_a_cursor_are_shown_as_escapes(engine: Engine, tree: Path) -> None:
    (tree / "fa21/session/legs/evil.conf").write_text(_EVIL)
    text = _diff(engine, DirectorySide(tree))[1]
    assert "\\x1b[2J\\x07" in text
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("path", ["session/legs", "session", "swanctl.conf", "base/qos.tc"])
def test_a_link_is_refused_and_what_it_leads_to_not_read(tree: Path, tmp_path: Path, path: str) -> None:
    victim = tree / "fa21" / path
    elsewhere = tmp_path / "elsewhere"
    victim.rename(elsewhere)
    victim.symlink_to(elsewhere)
    with pytest.raises(RoamvpnError, match="is a symbolic link"):
        DirectorySide(tree).sources("fa21")


def test_a_member_that_no_manifest_names_shows_as_removed(engine: Engine, tree: Path, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    write_bundles(tree, bundles)
    with tarfile.open(bundles / "fa21.tar", "a") as tar:
        member = tarfile.TarInfo("session/legs/evil.conf")
        member.size = len(_EVIL)
        tar.addfile(member, io.BytesIO(_EVIL.encode()))
    changes, _ = _diff(engine, BundleSide(bundles))
    assert changes == {("session/legs/evil.conf", Action.REMOVED)}


def test_a_bundle_beyond_all_measure_is_refused(tree: Path, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    write_bundles(tree, bundles)
    with (bundles / "fa21.tar").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(RoamvpnError, match="is larger than"):
        BundleSide(bundles)
