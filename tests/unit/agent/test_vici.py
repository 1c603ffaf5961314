"""vici on asyncio: requests in turn, events, and peers that misbehave."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest

from roamvpn.agent.vici import Client, Connection, Events
from roamvpn.gateway.errors import GatewayError
from tests.unit.agent.stand_ins import StandInCharon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

CHILD = {"children": {"rv-x": {"if_id_in": "400001"}}}


def with_charon(tmp_path: Path, work: Callable[[StandInCharon, str], Awaitable[None]]) -> None:
    async def run() -> None:
        charon = StandInCharon(tmp_path / "vici")
        await charon.start()
        try:
            await work(charon, str(tmp_path / "vici"))
        finally:
            await charon.stop()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_requests_at_once_are_each_answered(tmp_path: Path) -> None:
    async def work(charon: StandInCharon, path: str) -> None:
        client = Client(path)
        await asyncio.gather(*(client.request("load-conn", {f"rv-{number}": CHILD}) for number in range(50)))
        assert len(charon.connections) == 50
        conns = await client.stream("list-conns", "list-conn")
        assert len(conns) == 50
        client.close()

    with_charon(tmp_path, work)


def test_what_charon_refuses_is_an_error_in_its_words_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def work(_charon: StandInCharon, path: str) -> None:
        client = Client(path)
        with pytest.raises(GatewayError, match="unload-conn: rv-x not found"):
            await client.request("unload-conn", {"name": "rv-x"})
        assert await client.request("get-shared") == {"keys": []}
        client.close()

    with_charon(tmp_path, work)


def test_a_client_outlives_charon(tmp_path: Path) -> None:
    async def work(charon: StandInCharon, path: str) -> None:
        client = Client(path)
        await client.request("load-conn", {"rv-x": CHILD})
        await charon.stop()
        await asyncio.sleep(0)
        with pytest.raises(GatewayError):
            await client.request("load-conn", {"rv-x": CHILD})
        await charon.start()
        await client.request("load-conn", {"rv-x": CHILD})
        assert "rv-x" in charon.connections
        client.close()

    with_charon(tmp_path, work)


def test_events_are_heard_over_restarts(tmp_path: Path) -> None:
    async def work(charon: StandInCharon, path: str) -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()
        events = Events(
            path,
            ("child-updown",),
            lambda event, _message: heard.put_nowait(event),
            lambda: heard.put_nowait("connected"),
            lambda: heard.put_nowait("gone"),
        )
        task = asyncio.create_task(events.run())
        for _ in range(2):
            assert await heard.get() == "connected"
            charon.connections["rv-x"] = CHILD
            charon.up("rv-x")
            assert await heard.get() == "child-updown"
            await charon.stop()
            assert await heard.get() == "gone"
            await charon.start()
        task.cancel()

    with_charon(tmp_path, work)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        struct.pack("!I", 0),
        struct.pack("!I", 1 << 30),
        struct.pack("!I", 2) + b"\x01",
        struct.pack("!I", 3) + b"\x01\x03\x05",
        struct.pack("!I", 1) + b"\x09",
        struct.pack("!I", 1) + b"\x02",
        struct.pack("!I", 1) + b"\x07",
    ],
)
def test_an_answer_that_is_none_is_an_error(tmp_path: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_unix_server(serve, tmp_path / "vici")
        connection = await Connection.open(str(tmp_path / "vici"))
        with pytest.raises(GatewayError):
            await connection.request("version")
        connection.close()
        server.close()

    asyncio.run(asyncio.wait_for(run(), 10))


def test_who_does_not_answer_in_time_is_given_up(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        over.set()

    async def run() -> None:
        server = await asyncio.start_unix_server(serve, tmp_path / "vici")
        connection = await Connection.open(str(tmp_path / "vici"))
        with pytest.raises(GatewayError, match="too long"):
            await connection.request("version", within=0.01)
        assert not connection.open_still
        await over.wait()
        server.close()

    asyncio.run(asyncio.wait_for(run(), 10))


def test_what_is_too_large_is_not_sent(tmp_path: Path) -> None:
    async def work(_charon: StandInCharon, path: str) -> None:
        client = Client(path)
        with pytest.raises(GatewayError, match="too large"):
            await client.request("load-conn", {str(number): b"x" * 60_000 for number in range(10)})
        assert await client.request("get-shared") == {"keys": []}
        client.close()

    with_charon(tmp_path, work)
