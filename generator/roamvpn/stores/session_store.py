"""A node's signalling tables on disk: what it must know again after a restart, in one SQLite file (it holds keys)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from roamvpn.signalling.codec import decode, encode
from roamvpn.stores.sqlite_file import Kind, SqliteFile
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from roamvpn.signalling.effects import Store
    from roamvpn.signalling.messages import NodeRole

VERSION = 1
_SCHEMA = "CREATE TABLE entries (role TEXT NOT NULL, key TEXT NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (role, key))"
_KIND = Kind("store of sessions", b"roam", VERSION, (_SCHEMA,))
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
        self._file = SqliteFile(path, _KIND, synced=synced)

    def save(self, stores: Iterable[Store]) -> None:
        """Carry out these effects, all of them or none; when this returns they are kept."""
        # of several states of one entry only the last is worth encoding
        latest = {(str(each.role), each.key): each.entry for each in stores}
        gone = [where for where, entry in latest.items() if entry is None]
        kept = [(*where, encode(entry)) for where, entry in latest.items() if entry is not None]
        with self._file.errors("written"), self._file.transaction() as connection:
            connection.executemany(_DELETE, gone)
            connection.executemany(_SAVE, kept)

    def load(self, role: NodeRole, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        """The keys and entries of one role, one after the other; `kind` is what its machine calls `entry`."""
        with self._file.errors("read"):
            for key, text in self._file.connection.execute(_LOAD, (str(role),)):
                yield key, self._entry(kind, text)

    def _entry(self, kind: type[Any], text: str) -> Any:  # noqa: ANN401 - an entry of that kind
        try:
            return decode(kind, text)
        except RoamvpnError as error:
            raise RoamvpnError(f"{self.path}: {error}") from None

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def __enter__(self) -> Self:
        """Open since it was made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closed."""
        self.close()
