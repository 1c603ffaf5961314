"""Lines for `ip` and `tc`, from many users at once: what waits goes into one process, `-batch` on its input.

Starting a process costs more than a line does, and both tools change the kernel in turn anyway.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from roamvpn.gateway import objects
from roamvpn.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_WITHIN = 60.0
_MAX_LINES = 5_000
_GONE = re.compile(r"not found|No such|Cannot find|does not exist")
_THERE = re.compile(r"File exists|Exclusivity flag on")


class _Request:
    __slots__ = ("future", "lines", "removes")

    def __init__(self, lines: list[str], future: asyncio.Future[None], *, removes: bool) -> None:
        self.lines = lines
        self.future = future
        self.removes = removes


class Tool:
    """`ip` or `tc`. Requests are carried out in the order in which they come."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._queue: list[_Request] = []
        self._task: asyncio.Task[None] | None = None
        self.runs = 0
        """Processes started, for whoever wants to know how much was brought together."""

    async def set(self, lines: Sequence[str]) -> None:
        """Run lines that make objects; one that is there though it should not be is made anew.

        Raises GatewayError naming the object, not the line, which may hold a key.
        """
        await self._submit(list(lines), removes=False)

    async def remove(self, lines: Sequence[str]) -> None:
        """Run lines that take objects away; those that are gone already are no error."""
        await self._submit(list(lines), removes=True)

    async def _submit(self, lines: list[str], *, removes: bool) -> None:
        if not lines:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Request(lines, future, removes=removes))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        await future

    async def _work(self) -> None:
        """Until nothing waits; what comes meanwhile goes together into the next process."""
        try:
            while self._queue:
                taken, size = 0, 0
                for request in self._queue:
                    if taken and size + len(request.lines) > _MAX_LINES:
                        break
                    taken, size = taken + 1, size + len(request.lines)
                requests, self._queue = self._queue[:taken], self._queue[taken:]
                try:
                    await self._together(requests)
                finally:
                    # whatever happened here, nobody waits for ever
                    self._fail(requests, f"{self.name}: stopped")
        finally:
            self._task = None

    async def _together(self, requests: list[_Request]) -> None:
        rows = [(request, line) for request in requests for line in request.lines]
        renewed: set[str] = set()
        while rows:
            try:
                number, said = await _batch(self.name, [line for _request, line in rows])
                self.runs += 1
            except (OSError, TimeoutError) as error:
                said, number = f"{self.name}: {error!r}", 0
            if not said:
                break
            if not 0 < number <= len(rows):
                self._fail({request for request, _line in rows}, said)
                return
            request, line = rows[number - 1]
            rest = rows[number:]
            if request.removes and _GONE.search(said):
                rows = rest
            elif not request.removes and _THERE.search(said) and line not in renewed:
                renewed.add(line)
                removal = objects.removal(objects.of_line(self.name, line))[1]
                rows = [(request, removal), (request, line), *rest]
            else:
                self._fail({request}, f"{self.name}: {_object(self.name, line)}: {said}")
                rows = [row for row in rest if row[0] is not request]
        for request in requests:
            if not request.future.done():
                request.future.set_result(None)

    def _fail(self, requests: Iterable[_Request], said: str) -> None:
        for request in requests:
            if not request.future.done():
                request.future.set_exception(GatewayError("kernel", said))


def _object(tool: str, line: str) -> str:
    try:
        return objects.of_line(tool, line)
    except GatewayError:
        return " ".join(line.split()[:2])


async def _batch(tool: str, lines: list[str]) -> tuple[int, str]:
    """Run lines; returns the number of the line that failed, from 1, and what was said; (0, "") if all went well."""
    process = await asyncio.create_subprocess_exec(
        tool,
        "-batch",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=_ENVIRONMENT,
    )
    text = "".join(f"{line}\n" for line in lines).encode()
    try:
        async with asyncio.timeout(_WITHIN):
            out, _ = await process.communicate(text)
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    said = [line for line in out.decode(errors="replace").splitlines() if line.strip()]
    if not process.returncode and not said:
        return 0, ""
    where = next((line for line in said if line.startswith("Command failed")), "")
    number = where.rpartition(":")[2]
    words = "; ".join(line for line in said if line != where) or f"exit {process.returncode}"
    return (int(number) if number.isdigit() else 0), words[:300]


class Kernel:
    """Both tools."""

    def __init__(self) -> None:
        self.ip, self.tc = Tool("ip"), Tool("tc")

    async def set(self, lines: Iterable[tuple[str, Sequence[str]]]) -> None:
        """Make objects, given by name with their lines; both tools side by side. Raises GatewayError."""
        sorted_by: dict[str, list[str]] = {"ip": [], "tc": []}
        for name, made_by in lines:
            sorted_by[tool_of(name)] += made_by
        await _both(self.ip.set(sorted_by["ip"]), self.tc.set(sorted_by["tc"]))

    async def remove(self, names: Iterable[str]) -> None:
        """Take objects away, those among them that are there. Raises GatewayError."""
        sorted_by: dict[str, list[str]] = {"ip": [], "tc": []}
        for name in names:
            tool, line = objects.removal(name)
            sorted_by[tool].append(line)
        await _both(self.ip.remove(sorted_by["ip"]), self.tc.remove(sorted_by["tc"]))


def tool_of(name: str) -> str:
    """Which of the two makes an object."""
    return "tc" if name.partition(" ")[0] in ("qdisc", "class", "filter") else "ip"


async def _both(*work: Awaitable[None]) -> None:
    """Let both end, then raise the first error: what is half done is known as such."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
