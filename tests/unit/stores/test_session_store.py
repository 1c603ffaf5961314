"""Signalling tables on disk: closed to others, all of a transaction or nothing, and silent about what they hold."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from roamvpn.signalling.aaah import HomeEntry
from roamvpn.signalling.effects import Store
from roamvpn.signalling.messages import NodeRole
from roamvpn.stores.session_store import VERSION, SessionStore
from roamvpn.tables.problems import RoamvpnError
from tests.walks import entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_AAAH = NodeRole.AAAH
_SECRET = "c0ffee" * 10


def _entries(number: int, count: int = 3) -> list[Store]:
    return [Store(_AAAH, f"u{each}", HomeEntry(f"u{each}", number)) for each in range(count)]


def _numbers(path: Path) -> list[int]:
    with SessionStore(path) as store:
        return [entry.seq for _, entry in store.load(_AAAH, HomeEntry)]


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_every_entry_of_every_role_comes_back(tmp_path: Path) -> None:
    found = entries(3)
    with SessionStore(tmp_path / "sessions.db") as store:
        store.save(Store(role, key, entry) for role, rows in found.items() for key, entry in rows.items())
    with SessionStore(tmp_path / "sessions.db") as store:
        for role, rows in found.items():
            kind = type(next(iter(rows.values())))
            assert dict(store.load(role, kind)) == rows


def test_the_last_state_of_an_entry_is_kept_and_none_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with SessionStore(path) as store:
        store.save([*_entries(1), *_entries(2, 2), Store(_AAAH, "u2", None)])
        assert [entry.seq for _, entry in store.load(_AAAH, HomeEntry)] == [2, 2]
        store.save([Store(_AAAH, "u0", None), Store(_AAAH, "nobody", None), *_entries(3, 1)])
    assert sorted(_numbers(path)) == [2, 3]


def test_the_same_key_under_two_roles_is_two_entries(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "sessions.db") as store:
        store.save([Store(role, "u", HomeEntry("u", number)) for number, role in enumerate((_AAAH, NodeRole.FA))])
        assert [entry.seq for _, entry in store.load(_AAAH, HomeEntry)] == [0]


def test_the_file_and_what_lies_beside_it_are_closed_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with SessionStore(tmp_path / "state" / "sessions.db") as store:
            store.save(_entries(1))
            files = list((tmp_path / "state").iterdir())
            assert len(files) > 1
            assert {_mode(file) for file in files} == {0o600}
            assert _mode(tmp_path / "state") == 0o700
    finally:
        os.umask(before)
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["sessions.db"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "sessions.db"
    SessionStore(path).close()
    path.chmod(mode)
    with pytest.raises(RoamvpnError, match=f"others may read or write it \\(mode {mode:04o}"):
        SessionStore(path)


def test_a_link_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    SessionStore(tmp_path / "real.db").close()
    (tmp_path / "sessions.db").symlink_to(tmp_path / "real.db")
    with pytest.raises(RoamvpnError, match="no regular file"):
        SessionStore(tmp_path / "sessions.db")


def test_a_directory_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RoamvpnError):
        SessionStore(tmp_path / "file" / "sessions.db")


def _text(path: Path) -> None:
    path.write_text(f"password: {_SECRET}\n" * 100)


def _other_application(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (c TEXT)")
    connection.execute("INSERT INTO t VALUES (?)", (_SECRET,))
    connection.commit()
    connection.close()


def _newer(path: Path) -> None:
    path.unlink()
    SessionStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_text, "is no store of sessions"),
        (_other_application, "is a database, but no store of sessions"),
        (_newer, f"is of version {VERSION + 1}"),
    ],
)
def test_a_file_that_is_not_ours_is_named_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    path = tmp_path / "sessions.db"
    path.touch(mode=0o600)
    make(path)
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(RoamvpnError, match=says) as caught:
        SessionStore(path)
    assert str(path) in str(caught.value)
    assert _SECRET not in str(caught.value)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["sessions.db"]


def test_a_damaged_file_gives_one_error_that_tells_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with SessionStore(path) as store:
        store.save([Store(_AAAH, f"{_SECRET}{n}", HomeEntry(_SECRET, n)) for n in range(500)])
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(byte ^ 0x55 for byte in content[4096:])
    path.write_bytes(content)
    with pytest.raises(RoamvpnError) as caught, SessionStore(path) as store:
        list(store.load(_AAAH, HomeEntry))
    assert str(path) in str(caught.value)
    assert _SECRET not in str(caught.value)


def test_a_damaged_entry_gives_one_error_that_tells_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with SessionStore(path) as store:
        store.save(_entries(1))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE entries SET entry = ?", (f'["{_SECRET}"]',))
    connection.commit()
    connection.close()
    with SessionStore(path) as store, pytest.raises(RoamvpnError, match="db: a stored HomeEntry") as caught:
        list(store.load(_AAAH, HomeEntry))
    assert _SECRET not in str(caught.value)


def test_only_one_process_has_it_open(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with SessionStore(path), pytest.raises(RoamvpnError, match="in use by another process"):
        SessionStore(path)
    SessionStore(path).close()


def test_an_entry_that_cannot_be_encoded_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with SessionStore(path) as store:
        store.save(_entries(1))
        with pytest.raises(TypeError):
            store.save([*_entries(2), Store(_AAAH, "u9", HomeEntry("u9", object()))])  # type: ignore[arg-type]
        store.save(_entries(3, 1))
    assert sorted(_numbers(path)) == [1, 1, 3]


def test_what_was_replaced_does_not_lie_about_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with SessionStore(path) as store:
        store.save([Store(_AAAH, f"u{n}", HomeEntry(_SECRET, n)) for n in range(50)])
        store.save([Store(_AAAH, f"u{n}", None) for n in range(50)])
    assert _SECRET.encode() not in path.read_bytes()


_CHILD = """
import sys
from pathlib import Path
from roamvpn.signalling.aaah import HomeEntry
from roamvpn.signalling.effects import Store
from roamvpn.signalling.messages import NodeRole
from roamvpn.stores.session_store import SessionStore

def entries(number):
    return [Store(NodeRole.AAAH, f"u{n}", HomeEntry("x" * 500, number)) for n in range(20_000)]

store = SessionStore(Path(sys.argv[1]))
store.save(entries(1))
steps = 0
def step():
    # some of the transaction is in the file by now, as it is larger than what SQLite keeps in memory
    global steps
    steps += 1
    if steps == int(sys.argv[2]):
        print("middle", flush=True)
        sys.stdin.read()
store._file.connection.set_progress_handler(step, 1000)
store.save(entries(2))
store._file.connection.set_progress_handler(None, 0)
print("saved", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("steps", "said", "left"), [(1, "middle", 1), (300, "middle", 1), (10**9, "saved", 2)])
def test_a_process_that_is_killed_leaves_all_of_a_transaction_or_nothing(
    tmp_path: Path, steps: int, said: str, left: int
) -> None:
    path = tmp_path / "sessions.db"
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), str(steps)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == said
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
    assert _numbers(path) == [left] * 20_000
