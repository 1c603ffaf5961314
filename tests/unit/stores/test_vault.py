"""ansible-vault files: read with the password file that Ansible itself would use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from roamvpn.stores.site_directory import read_secrets
from roamvpn.stores.vault import PASSWORD_FILE, is_encrypted
from roamvpn.tables.problems import InputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    monkeypatch.setenv(PASSWORD_FILE, str(path))
    return path


def _encrypted(path: Path, plain: bytes) -> Path:
    secret = VaultSecret(b"correct horse")
    path.write_bytes(VaultLib([("default", secret)]).encrypt(plain, secret))
    return path


def test_the_right_password_opens(password: Path, tmp_path: Path) -> None:
    assert password.is_file()
    path = _encrypted(tmp_path / "secrets.yml", b"site_key: x\n")
    # others may read it: it is encrypted
    path.chmod(0o644)
    assert is_encrypted(path.read_bytes())
    assert read_secrets(path) == "site_key: x\n"


def test_a_wrong_password_does_not(password: Path, tmp_path: Path) -> None:
    password.write_text("wrong\n")
    with pytest.raises(InputError, match=r"secrets\.yml: cannot be decrypted with this password"):
        read_secrets(_encrypted(tmp_path / "secrets.yml", b"site_key: x\n"))


def test_without_a_password_file_the_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_FILE, raising=False)
    with pytest.raises(InputError, match=f"is encrypted; set {PASSWORD_FILE}"):
        read_secrets(_encrypted(tmp_path / "secrets.yml", b"x"))


def test_a_password_file_that_is_not_there_is_named(password: Path, tmp_path: Path) -> None:
    password.unlink()
    with pytest.raises(InputError, match="password file: No such file"):
        read_secrets(_encrypted(tmp_path / "secrets.yml", b"x"))


@pytest.mark.parametrize("damage", [b"\n3x", b"\n00", b"\n\xff\xfe"])
def test_a_damaged_file_is_refused(password: Path, tmp_path: Path, damage: bytes) -> None:
    assert password.is_file()
    path = _encrypted(tmp_path / "secrets.yml", b"site_key: x\n")
    path.write_bytes(path.read_bytes()[:-40] + damage)
    with pytest.raises(InputError, match="cannot be decrypted"):
        read_secrets(path)


def test_what_is_no_text_inside_is_refused(password: Path, tmp_path: Path) -> None:
    assert password.is_file()
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_secrets(_encrypted(tmp_path / "secrets.yml", b"site_key: \xff\n"))
