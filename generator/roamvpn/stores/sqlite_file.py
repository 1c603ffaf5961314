"""A SQLite file that is ours alone: as closed as a secrets file, and held by one process until it closes it.

A transaction that was under way when the process died, or the machine, has not happened.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.stores.tree import create
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Kind(NamedTuple):
    """What sort of file it is. `application` is four letters, by which file(1), and a check here, know it."""

    name: str
    application: bytes
    version: int
    schema: tuple[str, ...]


class SqliteFile:
    """The file at `path`, which is made where there is none.

    `synced`: what a transaction has written outlives a loss of power too, not only the end of the process. It may be
    used by one thread at a time. Raises RoamvpnError for a file that is not of this kind, or that others can read.
    """

    def __init__(self, path: Path, kind: Kind, *, synced: bool = True) -> None:
        self.path = path
        self._kind = kind
        _prepare(path)
        with self.errors("opened"):
            # transactions are begun and ended here, not by the module
            self.connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self.errors("opened"):
                self._open(synced=synced)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        self.connection.close()

    def _open(self, *, synced: bool) -> None:
        # nothing may be written before it is known whose file this is
        kind, execute = self._kind, self.connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        empty = not execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application, version = (execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        ours = int.from_bytes(kind.application)
        if application != ours and (application or version or not empty):
            raise RoamvpnError(f"{self.path}: is a database, but no {kind.name}")
        if version > kind.version:
            raise RoamvpnError(
                f"{self.path}: is of version {version}; this roamvpn knows up to {kind.version}, take a newer"
            )
        execute("PRAGMA journal_mode = WAL")
        execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
        # keys that were replaced must not lie about in free pages
        execute("PRAGMA secure_delete = ON")
        with self.transaction():
            if empty:
                for statement in kind.schema:
                    execute(statement)
                execute(f"PRAGMA application_id = {ours}")
                execute(f"PRAGMA user_version = {kind.version}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done inside, or nothing."""
        connection = self.connection
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
    def errors(self, what: str) -> Iterator[None]:
        """One kind of error, without SQLite's text, which may quote what the file holds."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            if name == "SQLITE_NOTADB":
                raise RoamvpnError(f"{self.path}: is no {self._kind.name}") from None
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
