"""A node's signalling tables on disk: what it must know again after a restart, in one SQLite file.

Keys stand in it, so it is as closed as a secrets file. It belongs to one process: whoever opens it holds it until he
closes it. A transaction that was under way when the process died, or the machine, has not happened.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from roamvpn.signalling.codec import decode, encode
from roamvpn.stores.tree import create
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from roamvpn.signalling.effects import Store
    from roamvpn.signalling.messages import NodeRole

VERSION = 1
_APPLICATION = 0x726F616D  # "roam", so that file(1), and a check here, tell this file from other databases
_SCHEMA = "CREATE TABLE entries (role TEXT NOT NULL, key TEXT NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (role, key))"
_SAVE = (
    "INSERT INTO entries (role, key, entry) VALUES (?, ?, ?) "
    "ON CONFLICT (role, key) DO UPDATE SET entry = excluded.entry"
)
_DELETE = "DELETE FROM entries WHERE role = ? AND key = ?"
# the plus keeps SQLite from the index: rows are read as they lie, which is several times as quick
_LOAD = "SELECT key, entry FROM entries WHERE +role = ?"


class SessionStore:
    """The file at `path`, which is made where there is none.

    `synced`: what `save` has saved outlives a loss of power too, not only the end of the process.
    """

    def __init__(self, path: Path, *, synced: bool = True) -> None:
        self.path = path
        _prepare(path)
        with self._errors("opened"):
            # transactions are begun and ended here, not by the module
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            with self._errors("opened"):
                self._open(synced=synced)
        except BaseException:
            self._connection.close()
            raise

    def save(self, stores: Iterable[Store]) -> None:
        """Carry out these effects, all of them or none; when this returns they are kept."""
        # of several states of one entry only the last is worth encoding
        latest = {(str(each.role), each.key): each.entry for each in stores}
        gone = [where for where, entry in latest.items() if entry is None]
        kept = [(*where, encode(entry)) for where, entry in latest.items() if entry is not None]
        with self._errors("written"), self._transaction() as connection:
            connection.executemany(_DELETE, gone)
            connection.executemany(_SAVE, kept)

    def load(self, role: NodeRole, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        """The keys and entries of one role, one after the other; `kind` is what its machine calls `entry`."""
        with self._errors("read"):
            for key, text in self._connection.execute(_LOAD, (str(role),)):
                yield key, self._entry(kind, text)

    def _entry(self, kind: type[Any], text: str) -> Any:  # noqa: ANN401 - an entry of that kind
        try:
            return decode(kind, text)
        except RoamvpnError as error:
            raise RoamvpnError(f"{self.path}: {error}") from None

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Open since it was made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closed."""
        self.close()

    def _open(self, *, synced: bool) -> None:
        # nothing may be written before it is known whose file this is
        execute = self._connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        empty = not execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application, version = (execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if application != _APPLICATION and (application or version or not empty):
            raise RoamvpnError(f"{self.path}: is a database, but no store of sessions")
        if version > VERSION:
            raise RoamvpnError(
                f"{self.path}: is of version {version}; this roamvpn knows up to {VERSION}, take a newer"
            )
        execute("PRAGMA journal_mode = WAL")
        execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
        # keys that were replaced must not lie about in free pages
        execute("PRAGMA secure_delete = ON")
        with self._transaction():
            if empty:
                execute(_SCHEMA)
                execute(f"PRAGMA application_id = {_APPLICATION}")
                execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # a full disk has rolled it back by itself
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """One kind of error, without SQLite's text, which may quote what the file holds."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            if name == "SQLITE_NOTADB":
                raise RoamvpnError(f"{self.path}: is no store of sessions") from None
            if name.startswith("SQLITE_BUSY"):
                raise RoamvpnError(f"{self.path}: is in use by another process") from None
            raise RoamvpnError(f"{self.path}: cannot be {what} ({name})") from None


def _prepare(path: Path) -> None:
    """A new file with its mode from the start, or one that nobody else can read."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # what SQLite puts beside it, it gives the same mode
            create(path, b"", 0o600)
        except FileExistsError:
            found = path.lstat()
        else:
            return
    except OSError as error:
        raise RoamvpnError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise RoamvpnError(f"{path}: is no regular file")
    if found.st_uid != os.geteuid():
        raise RoamvpnError(f"{path}: belongs to another user")
    if found.st_mode & 0o077:
        raise RoamvpnError(
            f"{path}: others may read or write it (mode {stat.S_IMODE(found.st_mode):04o}, must be 0600)"
        )
