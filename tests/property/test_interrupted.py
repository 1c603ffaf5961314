"""Whatever moment a render is killed at, the tree that is there is whole: the old one or the new one."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from roamvpn.render.manifest import MANIFEST, content_digest, parse
from roamvpn.stores.templates import example_site
from roamvpn.stores.tree import INDEX

if TYPE_CHECKING:
    from pathlib import Path

_RECORD = """
  - {profile_number: 11, nai: grace@isp3.example, vpnshare: 1, destaddr: 198.51.100.7, upclass: ef, downclass: none,
     up_spi: 0x2001, down_spi: 0x2002}
"""
# kills the process at its Nth step that can change a file system: opening, linking, renaming, removing, syncing
_KILLER = """
import os, signal, sys
left = int(sys.argv.pop(1))
WATCHED = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "ctypes.dlopen"}
def watch(event, arguments):
    global left
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    if event in WATCHED:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
from roamvpn.cli import main
sys.addaudithook(watch)
try:
    main()
finally:
    print(left, file=sys.stderr)
"""


def _roamvpn(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "roamvpn", *arguments], check=True, capture_output=True)


def _tree(root: Path) -> dict[str, bytes]:
    """Every file of a tree, after checking it against its manifests."""
    assert (root / INDEX).is_file()
    for path in root.glob(f"*/{MANIFEST}"):
        manifest = parse(path.read_text())
        files = {file.relative_to(path.parent).as_posix() for file in path.parent.rglob("*") if file.is_file()}
        assert files == {*manifest.files, MANIFEST}
        for name, entry in manifest.files.items():
            content = (path.parent / name).read_bytes()
            assert entry.sha256 in (None, content_digest(content))
            assert f"{(path.parent / name).stat().st_mode & 0o7777:04o}" == entry.mode
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The example before and after a user is added, with one set of secrets."""
    before, after = tmp_path_factory.mktemp("before"), tmp_path_factory.mktemp("after")
    for path in sorted(example_site().glob("*.yml")):
        if path.name != "secrets.yml":
            for site in (before, after):
                (site / path.name).write_text(path.read_text())
    _roamvpn("secrets", str(before))
    secrets = after / "secrets.yml"
    secrets.touch(mode=0o600)
    secrets.write_text((before / "secrets.yml").read_text())
    database = after / "vpn_database.yml"
    database.write_text(database.read_text().rstrip("\n") + _RECORD)
    return before, after


def _killed_at(step: int, site: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _KILLER, str(step), "render", str(site), "-o", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_render_killed_at_any_step_leaves_the_old_tree_or_the_new_one(
    sites: tuple[Path, Path], tmp_path: Path
) -> None:
    before, after = sites
    _roamvpn("render", str(before), "-o", str(tmp_path / "old"))
    old = _tree(tmp_path / "old")
    out = tmp_path / "out"
    shutil.copytree(tmp_path / "old", out)
    whole = _killed_at(1_000_000, after, out)
    assert whole.returncode == 0
    steps = 1_000_000 - int(whole.stderr.splitlines()[-1])
    new = _tree(out)
    assert old != new
    outcomes = set()
    # every step about the switch and the removal of the old tree, and a sample of the long way there
    switch = steps - sum(1 for name in old if "/" in name)
    chosen = {*range(2), *range(0, steps, max(steps // 12, 1)), *range(switch - 8, switch + 8), steps - 1}
    for step in sorted(number for number in chosen if 0 <= number < steps):
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "old", out)
        done = _killed_at(step, after, out)
        assert done.returncode == -signal.SIGKILL, done.stderr
        found = _tree(out)
        assert found in (old, new)
        outcomes.add("old" if found == old else "new")
    assert outcomes == {"old", "new"}
    # the next run succeeds and leaves nothing behind
    _roamvpn("render", str(after), "-o", str(out))
    assert _tree(out) == new
    assert sorted(path.name for path in tmp_path.iterdir()) == [".old.lock", ".out.lock", "old", "out"]


def test_a_second_run_at_the_same_time_is_refused(sites: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    descriptor = os.open(tmp_path / ".out.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    done = subprocess.run(
        [sys.executable, "-m", "roamvpn", "render", str(sites[0]), "-o", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(descriptor)
    assert done.returncode == 1
    assert "another run is writing it" in done.stderr
    assert not out.exists()


def test_a_directory_with_other_files_is_left_alone(sites: tuple[Path, Path], tmp_path: Path) -> None:
    precious = tmp_path / "home" / "letter.txt"
    precious.parent.mkdir()
    precious.write_text("dear")
    done = subprocess.run(
        [sys.executable, "-m", "roamvpn", "render", str(sites[0]), "-o", str(precious.parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "holds other files" in done.stderr
    assert [path.name for path in precious.parent.iterdir()] == ["letter.txt"]
