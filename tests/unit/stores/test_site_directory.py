"""A site's files, from a directory or from a revision of it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import find_site, read_revision, read_secrets, read_site
from roamvpn.tables.problems import InputError, RoamvpnError
from roamvpn.tables.site import load_site
from tests.documents import Documents
from tests.one_vpn import with_secrets

if TYPE_CHECKING:
    from pathlib import Path


def _put(directory: Path, texts: dict[str, str]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (directory / name).touch(mode=0o600 if name == "secrets.yml" else 0o644)
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return _put(tmp_path / "site", with_secrets(Documents()).texts())


def _git(directory: Path, *arguments: str) -> None:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.net", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=directory, env=environment, check=True, capture_output=True)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A repository with two sites below inventory/, committed, then changed."""
    root = tmp_path / "repository"
    for name in ("one", "two"):
        _put(root / "inventory" / name, with_secrets(Documents()).texts())
    _git(root, "init", "-q")
    _git(root, "add", "-A")
    _git(root, "commit", "-qm", "first")
    _git(root, "tag", "v1")
    path = root / "inventory" / "one" / "network.yml"
    path.write_text(path.read_text().replace("site: example", "site: changed"))
    return root


def test_a_directory_is_read_with_or_without_secrets(site: Path) -> None:
    assert read_site(site) == with_secrets(Documents()).texts()
    assert "secrets.yml" not in read_site(site, with_secrets=False)


def test_files_that_are_no_part_of_a_site_are_not_read(site: Path) -> None:
    (site / "notes.yml").write_text("\x00")
    assert "notes.yml" not in read_site(site)


def test_every_file_that_is_no_text_is_named_with_its_line(site: Path) -> None:
    (site / "network.yml").write_bytes(b"site: x\nbad: \xff\n")
    (site / "sessions.yml").write_bytes(b"\xfe")
    with pytest.raises(InputError) as caught:
        read_site(site)
    assert [(each.file, each.line) for each in caught.value.problems] == [("network.yml", 2), ("sessions.yml", 1)]


def test_a_directory_in_a_files_place_is_a_problem_of_that_file(site: Path) -> None:
    (site / "sessions.yml").unlink()
    (site / "sessions.yml").mkdir()
    with pytest.raises(InputError) as caught:
        read_site(site)
    assert [each.file for each in caught.value.problems] == ["sessions.yml"]


def test_a_site_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RoamvpnError, match="no such directory"):
        read_site(tmp_path / "none")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_secrets_that_others_may_read_are_refused(site: Path, mode: int) -> None:
    (site / "secrets.yml").chmod(mode)
    with pytest.raises(InputError, match=f"is readable by others .mode {mode:04o}."):
        read_secrets(site / "secrets.yml")


def test_a_site_is_found_here_or_as_the_only_one_below(
    history: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(history)
    with pytest.raises(RoamvpnError, match=r"which site\? .* 2 below inventory/"):
        find_site(None)
    assert find_site(tmp_path) == tmp_path
    (history / "inventory" / "two" / "network.yml").unlink()
    assert (find_site(None) / "network.yml").samefile(history / "inventory" / "one" / "network.yml")
    monkeypatch.chdir(history / "inventory" / "one")
    assert (find_site(None) / "network.yml").is_file()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RoamvpnError, match="none here or below inventory/"):
        find_site(None)


@pytest.mark.parametrize("revision", ["HEAD", "main", "v1", "HEAD~0", "@{0}"])
def test_a_revision_is_read_as_it_was_and_without_secrets(history: Path, revision: str) -> None:
    texts = read_revision(history / "inventory" / "one", revision)
    assert "site: example" in texts["network.yml"]
    assert set(texts) == {"network.yml", "vpn_database.yml", "cn_gw_table.yml", "sessions.yml", "policy_tests.yml"}


@pytest.mark.parametrize(
    "revision",
    [
        "nonsense",
        "",
        "--all",
        "-h",
        "--output=/tmp/x",
        "HEAD:network.yml",
        "HEAD^{tree}",
        "a b",
        "$(id)",
        "..",
        "v1..main",
        "HEAD\n",
    ],
)
def test_what_is_no_revision_is_refused(history: Path, revision: str) -> None:
    with pytest.raises(RoamvpnError, match=r"^git: |has no site"):
        read_revision(history / "inventory" / "one", revision)


def test_a_revision_without_the_site_says_so(history: Path) -> None:
    (history / "inventory" / "three").mkdir()
    with pytest.raises(RoamvpnError, match="'v1' has no site at inventory/three/"):
        read_revision(history / "inventory" / "three", "v1")


def test_a_directory_outside_of_any_repository_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "bare").mkdir()
    with pytest.raises(RoamvpnError, match="git: "):
        read_revision(tmp_path / "bare", "HEAD")


def test_a_site_in_a_directory_with_an_odd_name_is_read(tmp_path: Path) -> None:
    site = _put(tmp_path / "repo" / "si te*[x] é", Documents().texts())
    _git(tmp_path / "repo", "init", "-q")
    _git(tmp_path / "repo", "add", "-A")
    _git(tmp_path / "repo", "commit", "-qm", "first")
    assert read_revision(site, "HEAD") == Documents().texts()


def test_secrets_are_completed_once_and_in_one_step(site: Path) -> None:
    path = site / "secrets.yml"
    path.unlink()
    tables = load_site(read_site(site)).tables
    added = complete_secrets(path, tables)
    assert added[0] == "site_key"
    assert "sla.gw51.shared" in added
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()
    assert complete_secrets(path, tables) == []
    assert path.read_text() == before
    load_site(read_site(site))
    assert {each.name for each in site.iterdir() if each.name.startswith(".")} == set()


def test_a_key_that_is_missing_is_added_and_the_others_stay(site: Path) -> None:
    path = site / "secrets.yml"
    tables = load_site(read_site(site)).tables
    whole = read_secrets(path)
    path.write_text(f"site_key: '{'ab' * 32}'\nsla:\n  gw51:\n    shared: {{psk: '{'cd' * 32}'}}\n")
    added = complete_secrets(path, tables)
    assert added
    assert all(name.startswith("sla.gw51.profiles.") for name in added)
    text = path.read_text()
    assert "ab" * 32 in text
    assert "cd" * 32 in text
    assert text != whole
