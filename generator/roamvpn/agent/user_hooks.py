"""A site's own executables in `hooks.d`, run after a change: `$1` is what happened, `ROAMVPN_*` says to whom.

Nobody waits for them. They get no secrets, a time limit, and a clean environment; of their output some is logged.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
import subprocess
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import structlog

from roamvpn.tables.problems import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from prometheus_client import Counter

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
"""File names that are run; editors' backups and package managers' leftovers are not."""
_LEFTOVERS = (".bak", ".dpkg-dist", ".dpkg-new", ".dpkg-old", ".rpmnew", ".rpmsave", ".swp")
_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_EVENT = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_VALUE = 1024
_LAST_WORDS = 1.0
"""Seconds for output that is still in the pipe."""


class HookLimits(NamedTuple):
    """Times in seconds, output in bytes."""

    running: int = 4
    """Executables at a time."""
    waiting: int = 1000
    """Changes that wait for their turn; above it the newest is left out, and counted."""
    timeout: float = 30.0
    output: int = 4096


class _Change(NamedTuple):
    event: str
    environment: dict[str, str]


class UserHooks:
    """Runs what is in `directory`, if it is there. `owner` is whose executables are trusted: root's.

    `ran` counts by the label `result`: ok, failed, killed, ignored, dropped. Use it in a running loop.
    """

    def __init__(
        self,
        directory: Path,
        *,
        limits: HookLimits = HookLimits(),  # noqa: B008 - immutable
        owner: int = 0,
        ran: Counter | None = None,
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._owner = owner
        self._ran = ran
        self._waiting: deque[_Change] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger().bind(hooks=str(directory))

    def changed(self, event: str, values: Mapping[str, str | int]) -> None:
        """Something happened; returns at once. `nai=…` becomes `ROAMVPN_NAI`: pass nothing that is secret.

        Raises ValueError for a name that is no word: names are the program's, only values come from outside.
        """
        if not _EVENT.match(event) or not all(map(_VARIABLE.match, values)):
            raise ValueError(f"{event}, {', '.join(values)}: an event and its variables are words")
        if len(self._waiting) >= self._limits.waiting:
            self._count("dropped")
            self._log.warning("hooks cannot keep up", event_name=event)
            return
        variables = {f"ROAMVPN_{name.upper()}": _clean(str(value)) for name, value in values.items()}
        self._waiting.append(_Change(event, {"PATH": _PATH, "LANG": "C.UTF-8", "ROAMVPN_EVENT": event, **variables}))
        if len(self._workers) < self._limits.running:
            worker = asyncio.create_task(self._work(), name="hooks")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def idle(self) -> None:
        """Wait until nothing runs and nothing waits."""
        while self._workers:
            await asyncio.gather(*self._workers)

    async def close(self) -> None:
        """Forget what waits, kill what runs."""
        self._waiting.clear()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            change = self._waiting.popleft()
            for path in self._executables():
                await self._run(path, change)

    def _executables(self) -> list[Path]:
        """Those that may run, by name. Who can write the directory can replace what is in it, so that counts too."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            self._log.error("hooks cannot be listed", error=error.strerror)
            return []
        if names and not self._trusted(self._directory, stat.S_ISDIR):
            return []
        return [
            self._directory / name
            for name in names
            if _NAME.match(name)
            and not name.endswith(_LEFTOVERS)
            and self._trusted(self._directory / name, stat.S_ISREG)
            and os.access(self._directory / name, os.X_OK)
        ]

    def _trusted(self, path: Path, kind: Callable[[int], bool]) -> bool:
        try:
            # links are not followed: what they lead to may change hands
            found = path.lstat()
        except OSError:
            return False
        if not kind(found.st_mode):
            return False
        if found.st_uid != self._owner or found.st_mode & 0o022:
            self._count("ignored")
            mode = f"{stat.S_IMODE(found.st_mode):04o}"
            self._log.warning("hook ignored: not root's alone", path=shown(path.name), owner=found.st_uid, mode=mode)
            return False
        return True

    async def _run(self, path: Path, change: _Change) -> None:
        log = self._log.bind(hook=path.name, event_name=change.event)
        starting = asyncio.create_task(self._started(path, change))
        try:
            transport, told = await asyncio.shield(starting)
        except OSError as error:
            self._count("failed")
            log.warning("hook cannot run", error=error.strerror)
            return
        except asyncio.CancelledError:
            # cut short it would leave the children of the script behind
            with suppress(OSError):
                await _end(*await starting)
            raise
        try:
            async with asyncio.timeout(self._limits.timeout):
                await told.exited.wait()
            with suppress(TimeoutError):
                # what it left running may hold the pipe for ever
                async with asyncio.timeout(_LAST_WORDS):
                    await told.silent.wait()
        except TimeoutError:
            self._count("killed")
            log.warning("hook killed", after_s=self._limits.timeout, output=told.text)
        else:
            code = transport.get_returncode()
            self._count("failed" if code else "ok")
            (log.warning if code else log.info)("hook ran", code=code, output=told.text)
        finally:
            await _end(transport, told)

    async def _started(self, path: Path, change: _Change) -> tuple[asyncio.SubprocessTransport, _Output]:
        return await asyncio.get_running_loop().subprocess_exec(
            lambda: _Output(self._limits.output),
            str(path),
            change.event,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=change.environment,
            cwd="/",
            # a group of its own, so that children of the script go with it
            start_new_session=True,
        )

    def _count(self, result: str) -> None:
        if self._ran is not None:
            self._ran.labels(result=result).inc()


class _Output(asyncio.SubprocessProtocol):
    """All of the output is read, so that the script does not block; the beginning is kept."""

    def __init__(self, limit: int) -> None:
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()
        self._limit = limit
        self._kept = bytearray()

    @property
    def text(self) -> str:
        """What can stand in a log."""
        told = self._kept.decode(errors="replace")
        return "".join(each if each.isprintable() or each == "\n" else "?" for each in told)

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - there is one
        """Output."""
        self._kept += data[: self._limit - len(self._kept)]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - there is one, closed somehow
        """No more of it."""
        self.silent.set()

    def process_exited(self) -> None:
        """It has ended, and is reaped."""
        self.exited.set()


async def _end(transport: asyncio.SubprocessTransport, told: _Output) -> None:
    """Close it; kill it where it still runs."""
    if transport.get_returncode() is None:
        # not reaped yet, so its number, which is the group's, cannot be another's
        with suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        await told.exited.wait()
    transport.close()


def _clean(value: str) -> str:
    """What can stand in an environment, and does no harm to a script that prints it."""
    return "".join(each if each.isprintable() else "?" for each in value[:_MAX_VALUE])
