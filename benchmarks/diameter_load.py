"""The two ends of an AAAH under load: a relay that sends requests made beforehand, a home agent that says yes.

They read just what they must, so that it is the AAAH, or freeDiameter, that is measured.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from roamvpn.wire import diameter_avps as a
from roamvpn.wire import diameter_frames as f
from roamvpn.wire.diameter_base import BaseCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OURS = a.ENTERPRISE


class Wire(asyncio.Protocol):
    """Frames of a peer that is trusted; capabilities and watchdogs are answered."""

    def __init__(self, identity: str, *, greets: bool) -> None:
        self.base = BaseCodec(identity, identity.partition(".")[2], 2, _OURS, 1)
        self.open = asyncio.Event()
        self._greets = greets
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who this is."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._greets:
            self.send(f.with_ids(self.base.capabilities_request(self._address()), 1, 1))

    def data_received(self, data: bytes) -> None:
        """Whole messages."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= f.HEADER:
            length = int.from_bytes(buffer[at + 1 : at + 4])
            if len(buffer) - at < length:
                break
            self._message(bytes(buffer[at : at + length]))
            at += length
        del buffer[:at]

    def send(self, raw: bytes) -> None:
        """One message."""
        assert self._transport is not None
        self._transport.write(raw)

    def close(self) -> None:
        """Let go."""
        assert self._transport is not None
        self._transport.close()

    def received(self, raw: bytes, header: f.Header) -> None:
        """A message of the application."""

    def _address(self) -> bytes:
        assert self._transport is not None
        host = self._transport.get_extra_info("sockname")[0]
        return bytes(map(int, host.split(".")))

    def _message(self, raw: bytes) -> None:
        header = f.peek_header(raw)
        if header.application == 2:
            self.received(raw, header)
        elif header.command == 257:
            if header.is_request:
                self.send(self.base.capabilities_answer(raw, self._address()))
            self.open.set()
        elif header.is_request:
            self.send(self.base.success(raw))


class Asker(Wire):
    """Keeps so many requests under way, and notes how long each takes."""

    def __init__(self, identity: str) -> None:
        super().__init__(identity, greets=True)
        self.took: list[float] = []
        self.refused = 0
        self._requests: list[bytes] = []
        self._since: dict[int, float] = {}
        self._next = 0
        self._done = asyncio.Event()

    async def run(self, requests: Sequence[bytes], window: int) -> float:
        """Send all of them; seconds from the first request to the last answer."""
        self._requests, self._next = list(requests), 0
        self.took.clear()
        self.refused = 0
        self._done.clear()
        started = time.perf_counter()
        for _ in range(min(window, len(requests))):
            self._ask()
        await self._done.wait()
        return time.perf_counter() - started

    def _ask(self) -> None:
        number = self._next
        self._next += 1
        self._since[number] = time.perf_counter()
        raw = self._requests[number]
        self.send(raw[:12] + number.to_bytes(4) + raw[16:])

    def received(self, raw: bytes, header: f.Header) -> None:
        """An answer."""
        self.took.append(time.perf_counter() - self._since.pop(header.hop_by_hop))
        if b"\x00\x00\x07\xd1" not in raw[:300]:
            self.refused += 1
        if self._next < len(self._requests):
            self._ask()
        elif not self._since:
            self._done.set()


class HomeAgent(Wire):
    """Answers each HAR with yes."""

    def __init__(self, identity: str) -> None:
        super().__init__(identity, greets=True)
        writer = a.Writer(_OURS).add(a.AUTH_APPLICATION_ID, 2).add(a.RESULT_CODE, 2001).raw(self.base.origin)
        reply = writer.group().add(a.REPLY_CODE, 0).add(a.LIFETIME, 60)
        self._fixed = writer.add(a.GENERATION, 0).add(a.REGISTRATION_REPLY, reply).payload()

    def received(self, raw: bytes, header: f.Header) -> None:
        """A HAR."""
        copies = {}
        for each in f.walk(raw):
            kind = (each.code, each.vendor)
            if kind in _COPIED:
                copies[kind] = f.copy_of(raw, each.start, each.end)
                if len(copies) == len(_COPIED):
                    break
        avps = copies.pop((a.SESSION_ID.code, 0)) + self._fixed + b"".join(copies.values())
        self.send(f.pack_message(header._replace(flags=header.flags & ~f.REQUEST), avps))


class Answerer(Wire):
    """Answers each AMR with the same answer: what freeDiameter relays to."""

    def __init__(self, identity: str, answer: Callable[[bytes], bytes]) -> None:
        super().__init__(identity, greets=False)
        self._answer = answer

    def received(self, raw: bytes, header: f.Header) -> None:
        """An AMR."""
        answer = self._answer(raw)
        self.send(f.with_ids(answer, header.hop_by_hop, header.end_to_end))


_COPIED = {(a.SESSION_ID.code, 0), (a.USER_NAME.code, 0), (a.SEQUENCE.code, _OURS)}
