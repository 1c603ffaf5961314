"""The audit: one line of JSON for each change, appended, each with the hash of the one before.

Whoever alters, drops or moves a line breaks the chain from there on; `verify` says where. A file that has grown beyond
its size becomes `NAME.1`, and the chain goes on from it, so the last files together are one chain. It says who and
what, never a key: of legs there are names, of the state a digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from roamvpn.agent.user import Outcome

FIRST = "0" * 64
"""What the first line of all carries as the hash of the one before."""
_MAX_LINE = 64 * 1024


class AuditError(RoamvpnError):
    """The audit cannot be written, or is not as it was written."""


class Record(NamedTuple):
    """One line: `at` in milliseconds since 1970, as the caller counts; `what` are names and words."""

    at: int
    who: str
    what: dict[str, object]
    digest: str


def of_outcome(outcome: Outcome, at: int) -> Record:
    """The line of a change that the applier has ended."""
    what: dict[str, object] = {
        "deleted": list(outcome.deleted),
        "generation": outcome.generation,
        "ok": outcome.ok,
        "reason": outcome.reason[:500],
        "seq": outcome.seq,
        "set": list(outcome.set),
    }
    return Record(at, outcome.nai, what, outcome.digest)


class Audit:
    """Appends to one file. It belongs to one process; a line that was cut off by a crash is cut away."""

    def __init__(self, path: Path, *, size: int = 16 * 1024 * 1024, kept: int = 8) -> None:
        """`size` in bytes is when a file is put aside, `kept` how many of those stay. Raises AuditError."""
        self.path = path
        self._size = size
        self._kept = kept
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._last = self._recover()
        except OSError as error:
            raise AuditError(f"{path}: {error.strerror}") from None

    def append(self, record: Record) -> str:
        """Write a line; returns its hash. Raises AuditError."""
        node = {
            "at": record.at,
            "digest": record.digest,
            "previous": self._last,
            "what": record.what,
            "who": record.who,
        }
        line = json.dumps(node, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
        if len(line) >= _MAX_LINE:
            raise AuditError(f"{self.path}: a line of {len(line)} bytes")
        try:
            if os.fstat(self._descriptor).st_size + len(line) >= self._size:
                self._rotate()
            _write(self._descriptor, line + b"\n")
        except OSError as error:
            raise AuditError(f"{self.path}: {error.strerror}") from None
        self._last = hashlib.sha256(line).hexdigest()
        return self._last

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _rotate(self) -> None:
        if os.fstat(self._descriptor).st_size == 0:
            return
        for number in range(self._kept, 0, -1):
            older = _aside(self.path, number)
            if number == self._kept:
                older.unlink(missing_ok=True)
            elif older.exists():
                older.replace(_aside(self.path, number + 1))
        self.path.replace(_aside(self.path, 1))
        os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _recover(self) -> str:
        """Hash of the last whole line, here or in the file before; what follows it is cut away."""
        end = os.fstat(self._descriptor).st_size
        tail = os.pread(self._descriptor, min(end, 2 * _MAX_LINE), max(end - 2 * _MAX_LINE, 0))
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            os.ftruncate(self._descriptor, end - len(tail) + whole)
        lines = tail[:whole].splitlines()
        if not lines:
            before = _aside(self.path, 1)
            lines = before.read_bytes()[-2 * _MAX_LINE :].splitlines() if before.exists() else []
        return hashlib.sha256(lines[-1]).hexdigest() if lines else FIRST


def files(path: Path) -> list[Path]:
    """The files of an audit that are there, oldest first."""
    found: list[Path] = [path] if path.exists() else []
    number = 1
    while _aside(path, number).exists():
        found.insert(0, _aside(path, number))
        number += 1
    return found


def verify(path: Path) -> int:
    """Check the chain over all files of an audit; returns the number of lines.

    Raises:
        AuditError: with file and line where the chain is broken. A chain whose oldest files were dropped begins
            where they ended.
    """
    count, last = 0, None  # type: int, str | None
    for file in files(path):
        for number, line in enumerate(_lines(file), 1):
            previous = _previous(line)
            if previous is None or (last is not None and previous != last):
                raise AuditError(f"{file}:{number}: not what followed the line before")
            last = hashlib.sha256(line).hexdigest()
            count += 1
    return count


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            while line := stream.readline(_MAX_LINE + 1):
                if len(line) > _MAX_LINE:
                    raise AuditError(f"{file}: a line that is too long")
                yield line.rstrip(b"\n")
    except OSError as error:
        raise AuditError(f"{file}: {error.strerror}") from None


def _previous(line: bytes) -> str | None:
    try:
        node = json.loads(line)
    except (ValueError, RecursionError):
        return None
    previous = node.get("previous") if isinstance(node, dict) else None
    return previous if isinstance(previous, str) else None


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
