"""charon's vici socket on asyncio: one connection for commands, short-lived ones to initiate, one for events.

Packets and messages are those of `roamvpn.gateway.vici`.
Source: strongSwan, src/libcharon/plugins/vici/README.md, "Vici client protocol".
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Self

from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.vici import decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from roamvpn.gateway.vici import Value

_REQUEST, _RESPONSE, _UNKNOWN, _REGISTER, _UNREGISTER, _CONFIRM, _NO_EVENT, _EVENT = range(8)
_MAX_PACKET = 512 * 1024
_ANSWER_WITHIN = 30.0
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 2.0

Message = dict[str, "Value"]


class Connection:
    """One connection. After any failure it is closed: what would come next answers something else."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, path: str) -> Self:
        """Connect; raises GatewayError."""
        # in a thread, for where many connect at once it must wait, and a socket of asyncio would take that for success
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(_ANSWER_WITHIN)
        try:
            await asyncio.to_thread(made.connect, path)
            made.settimeout(0.0)
            return cls(*await asyncio.open_unix_connection(sock=made))
        except OSError as error:
            made.close()
            raise GatewayError("charon", f"does not answer at {path}: {error.strerror or error}") from None
        except BaseException:
            made.close()
            raise

    @property
    def open_still(self) -> bool:
        """Whether it can be used."""
        return not self._writer.is_closing() and not self._reader.at_eof()

    def close(self) -> None:
        """Close it; who waits for an answer gets an error."""
        self._writer.close()

    async def request(
        self, command: str, message: Mapping[str, object] | None = None, within: float = _ANSWER_WITHIN
    ) -> Message:
        """Call a command; raises GatewayError where it reports `success = no`, or takes longer than `within` s."""
        found, _events = await self._call(command, message, within)
        return found

    async def stream(
        self, command: str, event: str, message: Mapping[str, object] | None = None, within: float = _ANSWER_WITHIN
    ) -> list[Message]:
        """Call a command that tells its results as events; returns them."""
        await self.register(event)
        _answer, events = await self._call(command, message, within)
        await self._simple(_UNREGISTER, event)
        return [told for name, told in events if name == event]

    async def register(self, event: str) -> None:
        """From now on hear of these events."""
        await self._simple(_REGISTER, event)

    async def event(self) -> tuple[str, Message]:
        """The next event that is told."""
        while True:
            kind, body = await self._guarded(self._receive())
            if kind == _EVENT:
                return self._event(body)

    async def _call(
        self, command: str, message: Mapping[str, object] | None, within: float
    ) -> tuple[Message, list[tuple[str, Message]]]:
        payload = encode(message or {})
        events: list[tuple[str, Message]] = []
        kind, body = await self._guarded(self._exchange(_REQUEST, command, payload, events), within)
        if kind == _UNKNOWN:
            raise GatewayError("charon", f"does not know the command {command}")
        if kind != _RESPONSE:
            self.close()
            raise GatewayError("charon", f"{command}: unexpected packet {kind}")
        answer = self._message(body)
        if answer.get("success", b"yes") != b"yes":
            reason = answer.get("errmsg", b"no reason given")
            said = reason.decode(errors="replace") if isinstance(reason, bytes) else "no reason given"
            raise GatewayError("charon", f"{command}: {said}")
        return answer, events

    async def _simple(self, kind: int, name: str) -> None:
        answer, _body = await self._guarded(self._exchange(kind, name, b"", []))
        if answer == _NO_EVENT:
            raise GatewayError("charon", f"does not know the event {name}")

    async def _guarded(self, work: Awaitable[tuple[int, bytes]], within: float | None = None) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(within):
                return await work
        except TimeoutError:
            self.close()
            raise GatewayError("charon", "takes too long to answer") from None
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            raise GatewayError("charon", "closed the connection") from None
        except (GatewayError, asyncio.CancelledError):
            self.close()
            raise

    async def _exchange(
        self, kind: int, name: str, body: bytes, events: list[tuple[str, Message]]
    ) -> tuple[int, bytes]:
        raw = name.encode()
        packet = bytes([kind, len(raw)]) + raw + body
        if len(packet) > _MAX_PACKET:
            raise GatewayError("charon", f"{name}: a message of {len(packet)} bytes is too large")
        self._writer.write(struct.pack("!I", len(packet)) + packet)
        await self._writer.drain()
        while True:
            answer, told = await self._receive()
            if answer != _EVENT:
                return answer, told
            events.append(self._event(told))

    async def _receive(self) -> tuple[int, bytes]:
        (length,) = struct.unpack("!I", await self._reader.readexactly(4))
        if not 0 < length <= _MAX_PACKET:
            raise GatewayError("charon", f"a packet of {length} bytes")
        packet = await self._reader.readexactly(length)
        return packet[0], packet[1:]

    def _event(self, body: bytes) -> tuple[str, Message]:
        length = body[0] if body else 0
        name = body[1 : 1 + length].decode(errors="replace")
        return name, self._message(body[1 + length :])

    def _message(self, body: bytes) -> Message:
        try:
            return decode(body)
        except ValueError as error:
            self.close()
            raise GatewayError("charon", str(error)) from None


class Client:
    """Commands, one after the other over one connection, which is made anew when it broke."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._turn = asyncio.Lock()
        self._connection: Connection | None = None
        self._idle: list[Connection] = []

    async def request(
        self, command: str, message: Mapping[str, object] | None = None, within: float = _ANSWER_WITHIN
    ) -> Message:
        """Call a command; raises GatewayError."""
        async with self._turn:
            return await (await self._connected()).request(command, message, within)

    async def stream(self, command: str, event: str, message: Mapping[str, object] | None = None) -> list[Message]:
        """Call a command that tells its results as events; raises GatewayError."""
        async with self._turn:
            return await (await self._connected()).stream(command, event, message)

    async def aside(self, command: str, message: Mapping[str, object], within: float) -> Message:
        """Call a command that takes long, beside the others; raises GatewayError."""
        connection = self._idle.pop() if self._idle else await Connection.open(self._path)
        if not connection.open_still:
            connection.close()
            connection = await Connection.open(self._path)
        try:
            return await connection.request(command, message, within)
        finally:
            if connection.open_still:
                self._idle.append(connection)

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._idle, *([self._connection] if self._connection is not None else [])):
            connection.close()
        self._idle.clear()

    async def _connected(self) -> Connection:
        if self._connection is None or not self._connection.open_still:
            if self._connection is not None:
                self._connection.close()
            self._connection = await Connection.open(self._path)
        return self._connection


class Events:
    """Hears of events for as long as it runs, over any number of charons that come and go."""

    def __init__(
        self,
        path: str,
        names: tuple[str, ...],
        heard: Callable[[str, Message], None],
        connected: Callable[[], None],
        gone: Callable[[], None],
    ) -> None:
        """`connected` is told that a charon is listened to from now on, `gone` that it is no more."""
        self._path = path
        self._names = names
        self._heard = heard
        self._connected = connected
        self._gone = gone

    async def run(self) -> None:
        """Listen until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                connection = await Connection.open(self._path)
            except GatewayError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LAST_PAUSE)
                continue
            try:
                for name in self._names:
                    await connection.register(name)
                pause = _FIRST_PAUSE
                self._connected()
                while True:
                    self._heard(*await connection.event())
            except (GatewayError, OSError):
                self._gone()
                await asyncio.sleep(pause)
            finally:
                connection.close()
