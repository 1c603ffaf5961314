"""The drop directory: events that a hook script could not hand over while the agent was away.

A file `*.events.json` or `*.kea.json` appears there whole (by rename) and goes when it is settled. What the spool has
no room for stays for the next look.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import stat
from contextlib import suppress
from heapq import nsmallest
from typing import TYPE_CHECKING

import structlog

from roamvpn.agent.events import MAX_BYTES
from roamvpn.agent.intake import Form
from roamvpn.tables.problems import RoamvpnError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from roamvpn.agent.intake import Intake

_MOVED_TO, _MOVE_SELF, _ONLYDIR = 0x80, 0x800, 0x01000000  # inotify(7); removal is told unasked
_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_ONCE = 1000
_LATER = 5.0
"""Seconds after which a full spool is tried again."""


class DropDirectory:
    """Watches `path`, which must exist. Run `watch()` as a task, and cancel it to stop."""

    def __init__(self, path: Path, intake: Intake) -> None:
        self.path = path
        self._intake = intake
        self._log = structlog.get_logger().bind(drop=str(path))

    async def watch(self) -> None:
        """Take what is there, then what comes. Raises RoamvpnError where the directory cannot be watched."""
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        descriptor = _inotify(self.path)

        def noticed() -> None:
            # which names does not matter: the directory is read anyway, which an overflow of the queue cannot spoil
            os.read(descriptor, 64 * 1024)
            changed.set()

        try:
            _watch(descriptor, self.path)
            loop.add_reader(descriptor, noticed)
            while True:
                changed.clear()
                # asked each time, before looking: by now it may be another directory of this name
                if self._watched(descriptor) and await self.sweep():
                    await changed.wait()
                else:
                    await asyncio.sleep(_LATER)
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def sweep(self) -> bool:
        """Take what is there, in the order in which it came; False where something had to stay."""
        try:
            while found := await asyncio.to_thread(self._found):
                for path, form in found:
                    if not await self._settled(path, form):
                        return False
        except OSError as error:
            self._log.error("directory cannot be read", error=error.strerror)
            return False
        return True

    def _watched(self, descriptor: int) -> bool:
        try:
            _watch(descriptor, self.path)
        except RoamvpnError as error:
            self._log.error("drop directory is gone", error=str(error))
            return False
        return True

    async def _settled(self, path: Path, form: Form) -> bool:
        try:
            raw = await asyncio.to_thread(_read, path)
            if raw is None:
                self._log.warning("no event file", file=shown(path.name))
            else:
                reply = await self._intake.take(form, raw)
                if not reply.settled:
                    return False
            await asyncio.to_thread(path.unlink, missing_ok=True)
        except OSError as error:
            self._log.error("event file cannot be taken", file=shown(path.name), error=error.strerror)
            return False
        return True

    def _found(self) -> list[tuple[Path, Form]]:
        """Files to take, oldest first, some at a time. What somebody is still writing begins with a dot."""
        return [(self.path / name, form) for _at, name, form in nsmallest(_AT_ONCE, self._entries())]

    def _entries(self) -> Iterator[tuple[int, str, Form]]:
        with os.scandir(self.path) as entries:
            for entry in entries:
                form = next((form for form in Form if entry.name.endswith(f".{form}.json")), None)
                if form is None or entry.name.startswith(".") or entry.is_dir(follow_symlinks=False):
                    continue
                with suppress(FileNotFoundError):
                    yield entry.stat(follow_symlinks=False).st_mtime_ns, entry.name, form


def _read(path: Path) -> bytes | None:
    """What the file holds, one byte more than is allowed at most; None where it is no plain file."""
    try:
        # a pipe would block, a link would lead elsewhere
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            return None
        raise error from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return file.read(MAX_BYTES + 1)


def _inotify(path: Path) -> int:
    descriptor: int = _LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        raise RoamvpnError(f"{path}: cannot be watched: {os.strerror(ctypes.get_errno())}")
    return descriptor


def _watch(descriptor: int, path: Path) -> None:
    """Ask to be told; to ask again changes nothing."""
    if _LIBC.inotify_add_watch(descriptor, os.fsencode(path), _MOVED_TO | _MOVE_SELF | _ONLYDIR) < 0:
        raise RoamvpnError(f"{path}: cannot be watched: {os.strerror(ctypes.get_errno())}")
