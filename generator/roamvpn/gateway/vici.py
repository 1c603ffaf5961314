"""A client of charon's vici socket: packets, messages, streamed events.

Source: strongSwan, src/libcharon/plugins/vici/README.md, "Vici client protocol".
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Self

from roamvpn.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

Value = bytes | list[bytes] | dict[str, "Value"]
"""A value, a list or a section of a message, as charon sends them."""

_REQUEST, _RESPONSE, _UNKNOWN, _REGISTER, _UNREGISTER, _CONFIRM, _, _EVENT = range(8)
_SECTION, _SECTION_END, _KEY_VALUE, _LIST, _ITEM, _LIST_END = range(1, 7)
_MAX_PACKET = 512 * 1024


def encode(message: Mapping[str, object]) -> bytes:
    """Bytes of a message: text and bytes are values, lists are lists, mappings are sections.

    Raises:
        GatewayError: for what the format cannot carry: a name above 255 bytes, a value of 64 KiB or more.
    """
    parts = []
    for key, value in message.items():
        name = _short(key)
        if isinstance(value, dict):
            parts.append(bytes([_SECTION]) + name + encode(value) + bytes([_SECTION_END]))
        elif isinstance(value, (list, tuple)):
            items = b"".join(bytes([_ITEM]) + _long(item) for item in value)
            parts.append(bytes([_LIST]) + name + items + bytes([_LIST_END]))
        else:
            parts.append(bytes([_KEY_VALUE]) + name + _long(value))
    return b"".join(parts)


def decode(data: bytes) -> dict[str, Value]:
    """A message from its bytes; raises ValueError where they are no message."""
    try:
        tree, _end = _section(data, 0, top=True)
    except (IndexError, struct.error):
        raise ValueError("a vici message is cut off") from None
    except RecursionError:
        raise ValueError("a vici message is nested too deep") from None
    return tree


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 0xFF:
        raise GatewayError("charon", f"a name of {len(raw)} bytes is too large: {text[:40]}")
    return struct.pack("!B", len(raw)) + raw


def _long(value: object) -> bytes:
    raw = value if isinstance(value, bytes) else str(value).encode()
    if len(raw) > 0xFFFF:
        raise GatewayError("charon", f"a value of {len(raw)} bytes is too large")
    return struct.pack("!H", len(raw)) + raw


def _section(data: bytes, position: int, *, top: bool) -> tuple[dict[str, Value], int]:
    tree: dict[str, Value] = {}
    while position < len(data):
        kind = data[position]
        if kind == _SECTION_END and not top:
            return tree, position + 1
        name, position = _take(data, position + 1, "!B")
        key = name.decode()
        if kind == _SECTION:
            tree[key], position = _section(data, position, top=False)
        elif kind == _KEY_VALUE:
            tree[key], position = _take(data, position, "!H")
        elif kind == _LIST:
            items: list[bytes] = []
            while data[position] == _ITEM:
                item, position = _take(data, position + 1, "!H")
                items.append(item)
            if data[position] != _LIST_END:
                raise ValueError("a vici list does not end")
            tree[key], position = items, position + 1
        else:
            raise ValueError(f"unknown vici element {kind}")
    if not top:
        raise ValueError("a vici section does not end")
    return tree, position


def _take(data: bytes, position: int, form: str) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(form, data, position)
    start = position + struct.calcsize(form)
    if start + length > len(data):
        raise ValueError("a vici message is cut off")
    return data[start : start + length], start + length


def _message(data: bytes) -> dict[str, Value]:
    try:
        return decode(data)
    except ValueError as error:
        raise GatewayError("charon", str(error)) from None


def _event(body: bytes) -> tuple[bytes, dict[str, Value]]:
    try:
        name, position = _take(body, 0, "!B")
    except (ValueError, struct.error):
        raise GatewayError("charon", "an event is cut off") from None
    return name, _message(body[position:])


class Vici:
    """One connection to charon. Every call raises GatewayError with charon's own words if it fails."""

    def __init__(self, path: str, timeout: float = 30.0) -> None:
        """`timeout` in seconds is for each answer."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise GatewayError("charon", f"does not answer at {path}: {error.strerror}") from None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._socket.close()

    def peer(self) -> str:
        """Names the process at the other end: its number and its start, as the kernel counts.

        charon's own `since` is no name: it is computed anew each time, and now and then a second off.
        """
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid = struct.unpack("3i", credentials)[0]
        try:
            started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        except (OSError, IndexError):
            raise GatewayError("charon", f"process {pid} is gone") from None
        return f"{pid} {started}"

    def request(self, command: str, message: Mapping[str, object] | None = None) -> dict[str, Value]:
        """Call a command; raises GatewayError where it reports `success = no`."""
        self._send(_REQUEST, command, encode(message or {}))
        return self._answer(command)

    def stream(
        self, command: str, event: str, message: Mapping[str, object] | None = None
    ) -> Iterator[dict[str, Value]]:
        """Call a command that tells its results as events; yields them."""
        self._send(_REGISTER, event, b"")
        self._expect(_CONFIRM, event)
        self._send(_REQUEST, command, encode(message or {}))
        found = []
        while True:
            kind, body = self._receive()
            if kind == _EVENT:
                told, message_of = _event(body)
                if told == event.encode():
                    found.append(message_of)
                continue
            self._checked(command, kind, body)
            break
        self._send(_UNREGISTER, event, b"")
        self._expect(_CONFIRM, event)
        yield from found

    def _answer(self, command: str) -> dict[str, Value]:
        kind, body = self._receive()
        while kind == _EVENT:
            kind, body = self._receive()
        return self._checked(command, kind, body)

    def _checked(self, command: str, kind: int, body: bytes) -> dict[str, Value]:
        if kind == _UNKNOWN:
            raise GatewayError("charon", f"does not know the command {command}")
        if kind != _RESPONSE:
            raise GatewayError("charon", f"{command}: unexpected packet {kind}")
        answer = _message(body)
        if answer.get("success", b"yes") != b"yes":
            reason = answer.get("errmsg", b"no reason given")
            said = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
            raise GatewayError("charon", f"{command}: {said}")
        return answer

    def _expect(self, wanted: int, name: str) -> None:
        kind, _body = self._receive()
        while kind == _EVENT:
            kind, _body = self._receive()
        if kind != wanted:
            raise GatewayError("charon", f"does not know the event {name}")

    def _send(self, kind: int, name: str, body: bytes) -> None:
        packet = bytes([kind]) + _short(name) + body
        if len(packet) > _MAX_PACKET:
            raise GatewayError("charon", f"{name}: a message of {len(packet)} bytes is too large")
        try:
            self._socket.sendall(struct.pack("!I", len(packet)) + packet)
        except OSError as error:
            raise GatewayError("charon", f"{name}: {error.strerror or error}") from None

    def _receive(self) -> tuple[int, bytes]:
        (length,) = struct.unpack("!I", self._exactly(4))
        if not 0 < length <= _MAX_PACKET:
            raise GatewayError("charon", f"a packet of {length} bytes")
        packet = self._exactly(length)
        return packet[0], packet[1:]

    def _exactly(self, length: int) -> bytes:
        parts = []
        while length:
            try:
                part = self._socket.recv(length)
            except TimeoutError:
                raise GatewayError("charon", "takes too long to answer") from None
            except OSError as error:
                raise GatewayError("charon", str(error.strerror)) from None
            if not part:
                raise GatewayError("charon", "closed the connection")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)
