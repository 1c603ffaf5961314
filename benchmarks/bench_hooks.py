"""Events a second through the hook socket, durable before each is answered, and how long an answer takes.

    python -m benchmarks.bench_hooks [--quick] [--directory DIR]

The server is a process of its own, as the agent is; the clients share this one, so on two cores each has its own. Every
answer is checked. First come ways to keep an event on this disk: what the spool does, and what it might have done. DIR
should be on the disk that counts, and is emptied of what was measured. Prints tables; exits 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

import structlog
from rich.console import Console
from rich.table import Table

from roamvpn.agent.adapters import Here
from roamvpn.agent.events import Event, event_of, identification
from roamvpn.agent.hook_server import app, serve
from roamvpn.agent.intake import Intake
from roamvpn.agent.spool import Spool
from roamvpn.agent.spool_file import Outcome

_CONNECTIONS = (1, 8, 32, 128)
_GROUPS = (1, 16, 128)


def _event(user: int, number: int) -> Event:
    now = int(time.time())
    return event_of(
        {
            "v": 1,
            "event_id": f"{user}-{number}",
            "type": "register",
            "agent": "fa21",
            "nai": f"user{user}@isp3.example",
            "home_addr": "10.3.0.11",
            "access_gw": "fa21",
            "seq": identification(now, number),
            "observed_at": now,
            "lifetime_s": 600,
            "source": "radius",
        }
    )


# the disk


def _files(directory: Path, bodies: list[bytes]) -> float:
    """A file each, renamed into place; file and directory synced."""
    folder = os.open(directory, os.O_RDONLY)
    begun = time.perf_counter()
    for number, body in enumerate(bodies):
        with (directory / "new").open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        (directory / "new").rename(directory / f"{number}.json")
        os.fsync(folder)
    took = time.perf_counter() - begun
    os.close(folder)
    for number in range(len(bodies)):
        (directory / f"{number}.json").unlink()
    return len(bodies) / took


async def _spooled(path: Path, count: int, at_once: int) -> float:
    """The spool without its socket; confirmed as it goes, as by a consumer that keeps up."""
    async with Spool(path, time.time) as spool:

        async def consume() -> None:
            async for spooled in spool.events():
                spool.confirm(spooled.id)

        async def user(name: int) -> None:
            for number in range(count // at_once):
                assert await spool.offer(events[name][number]) is Outcome.ACCEPTED

        events = [[_event(name, number) for number in range(count // at_once)] for name in range(at_once)]
        consumer = asyncio.create_task(consume())
        begun = time.perf_counter()
        await asyncio.gather(*(user(name) for name in range(at_once)))
        took = time.perf_counter() - begun
        consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    return count / took


# the socket


async def _server(directory: Path) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    async with Spool(directory / "spool.db", time.time) as spool:
        runner = await serve(
            app(Intake(spool, Here("fa21", lambda _: None), time.time)), directory / "run" / "hook.sock"
        )

        async def consume() -> None:
            async for spooled in spool.events():
                spool.confirm(spooled.id)

        consumer = asyncio.create_task(consume())
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()
        consumer.cancel()


async def _asked(path: Path, first: int, connections: int, count: int) -> tuple[float, list[float]]:
    """Events a second, and seconds of each answer, for so many connections that each wait for their answers."""
    times: list[float] = []

    async def one(user: int) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        for number in range(count // connections):
            body = _event(user, number).encoded()
            begun = time.perf_counter()
            writer.write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            reply = json.loads(await reader.readexactly(length))
            times.append(time.perf_counter() - begun)
            assert reply["result"] == "accepted", reply
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(one(first + user) for user in range(connections)))
    return len(times) / (time.perf_counter() - begun), times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on the disk that counts")  # noqa: S108 - only there are its figures
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_server(options.serve))
        return
    count = 1280 if options.quick else 12_800
    console = Console(width=100)
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-hooks-") as name:
        directory = Path(name)
        kept = Table("kept on disk", "events/s", title="Ways to keep an event")
        bodies = [_event(1, number).encoded() for number in range(count // 8)]
        kept.add_row("a file each, file and directory synced", f"{_files(directory, bodies):,.0f}")
        for at_once in _GROUPS:
            rate = asyncio.run(_spooled(directory / "direct.db", count // (8 if at_once == 1 else 1), at_once))
            kept.add_row(f"the spool, {at_once} at once", f"{rate:,.0f}")
        console.print(kept)
        command = [sys.executable, "-m", "benchmarks.bench_hooks", "--serve", str(directory)]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            table = Table("connections", "events/s", "p50 ms", "p99 ms", title="Through the socket")
            first = 0
            for connections in _CONNECTIONS:
                rate, times = asyncio.run(_asked(directory / "run" / "hook.sock", first, connections, count))
                first += connections
                cuts = quantiles(times, n=100)
                table.add_row(str(connections), f"{rate:,.0f}", f"{cuts[49] * 1000:.2f}", f"{cuts[98] * 1000:.2f}")
            console.print(table)
        finally:
            server.communicate()


if __name__ == "__main__":
    main()
