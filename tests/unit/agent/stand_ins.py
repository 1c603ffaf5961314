"""A charon that only keeps books, behind a real vici socket, and a kernel that is a dictionary.

This machine's kernel has no ESP and no flower, so SAs and filters cannot be had here; the real ones are in tests/lab.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from roamvpn.gateway import objects
from roamvpn.gateway.vici import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Message = dict[str, Any]


class StandInCharon:
    """Loads, unloads, initiates at once unless told otherwise, and tells events."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: dict[str, Message] = {}
        self.secrets: dict[str, Message] = {}
        self.sas: dict[int, str] = {}
        self.marks: dict[int, str] = {}
        self.dead: set[str] = set()
        """Connections that cannot be brought up."""
        self.log: list[str] = []
        self.refuse: set[str] = set()
        self.during: dict[str, Callable[[], object]] = {}
        """What happens once, while a command is carried out."""
        self._next = 1
        self._server: asyncio.Server | None = None
        self._listeners: dict[asyncio.StreamWriter, set[str]] = {}

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """As if it were killed: what it knew is gone."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._listeners):
            writer.close()
        self.connections.clear()
        self.secrets.clear()
        self.sas.clear()
        with suppress(FileNotFoundError):
            self.path.unlink()

    def up(self, name: str) -> int:
        """An SA of a loaded connection comes up, whoever asked for it."""
        unique, self._next = self._next, self._next + 1
        child = self.connections[name]["children"][name]
        self.sas[unique], self.marks[unique] = name, f"{int(child['if_id_in']):08x}"
        self.tell("child-updown", {"up": "yes", **self._sa(unique)})
        return unique

    def down(self, unique: int) -> None:
        """An SA goes."""
        node = self._sa(unique)
        del self.sas[unique]
        self.tell("child-updown", node)

    def tell(self, event: str, message: Message) -> None:
        body = bytes([7, len(event)]) + event.encode() + encode(message)
        for writer, wanted in self._listeners.items():
            if event in wanted:
                writer.write(struct.pack("!I", len(body)) + body)

    def _sa(self, unique: int) -> Message:
        name = self.sas[unique]
        child = {"name": name, "state": "INSTALLED", "if-id-in": self.marks[unique]}
        return {name: {"uniqueid": str(unique), "state": "ESTABLISHED", "child-sas": {f"{name}-1": child}}}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._listeners[writer] = set()
        try:
            while True:
                (length,) = struct.unpack("!I", await reader.readexactly(4))
                packet = await reader.readexactly(length)
                kind, size = packet[0], packet[1]
                name, body = packet[2 : 2 + size].decode(), packet[2 + size :]
                if kind in (3, 4):
                    (self._listeners[writer].add if kind == 3 else self._listeners[writer].discard)(name)
                    answer = bytes([5])
                else:
                    answer = bytes([1]) + encode(await self._command(name, decode(body), writer))
                writer.write(struct.pack("!I", len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._listeners.pop(writer, None)
            writer.close()

    async def _command(  # noqa: C901, PLR0912 - a case for each command
        self, command: str, message: Message, writer: asyncio.StreamWriter
    ) -> Message:
        which = _text(message.get("id") or message.get("name") or message.get("ike") or message.get("ike-id"))
        if command == "load-conn":
            which = next(iter(message))
        self.log.append(f"{command} {which}".strip())
        if command in self.during:
            self.during.pop(command)()
            await asyncio.sleep(0.02)
        if command in self.refuse:
            return {"success": "no", "errmsg": "refused"}
        match command:
            case "load-conn":
                self.connections[which] = _texts(message[which])
            case "load-shared":
                self.secrets[which] = message
            case "unload-conn" if which in self.connections:
                del self.connections[which]
            case "unload-shared" if which in self.secrets:
                del self.secrets[which]
            case "unload-conn" | "unload-shared":
                return {"success": "no", "errmsg": f"{which} not found"}
            case "initiate":
                if which in self.dead or which not in self.connections:
                    return {"success": "no", "errmsg": f"establishing CHILD_SA '{which}' failed"}
                self.up(which)
            case "terminate":
                self.down(int(which))
            case "list-sas":
                for unique, name in self.sas.items():
                    if which in ("", name):
                        self._only(writer, "list-sa", self._sa(unique))
            case "list-conns":
                for name in self.connections:
                    self._only(writer, "list-conn", {name: {}})
            case "get-shared":
                return {"keys": list(self.secrets)}
        return {"success": "yes"}

    def _only(self, writer: asyncio.StreamWriter, event: str, message: Message) -> None:
        body = bytes([7, len(event)]) + event.encode() + encode(message)
        writer.write(struct.pack("!I", len(body)) + body)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else ""


def _texts(node: Message) -> Message:
    return {
        key: _texts(value) if isinstance(value, dict) else value.decode() if isinstance(value, bytes) else value
        for key, value in node.items()
    }


class StandInKernel:
    """What `ip -batch` and `tc -batch` would do; `refuse` names objects that cannot be made."""

    def __init__(self) -> None:
        self.objects: dict[str, str] = {}
        self.refuse: set[str] = set()
        self.runs = 0
        self.during: Callable[[], object] | None = None
        """What happens once, while lines are run."""

    async def batch(self, tool: str, lines: list[str]) -> tuple[int, str]:
        """Stands in for `roamvpn.agent.kernel._batch`."""
        await asyncio.sleep(0)
        self.runs += 1
        if self.during is not None:
            during, self.during = self.during, None
            during()
        for number, line in enumerate(lines, 1):
            words = line.split()
            if "delete" in words:
                name = next((name for name in self.objects if objects.removal(name) == (tool, line)), None)
                if name is None:
                    return number, "RTNETLINK answers: No such file or directory"
                del self.objects[name]
                continue
            name = objects.of_line(tool, line)
            if name in self.refuse:
                return number, "Error: not supported."
            if " add " in f" {line} " and name in self.objects:
                return number, "RTNETLINK answers: File exists"
            self.objects[name] = line
        return 0, ""

    def live(self) -> objects.Objects:
        """Stands in for `roamvpn.gateway.kernel.live`."""
        return {name: _shown(line) for name, line in self.objects.items()}


def _shown(line: str) -> objects.Json:
    words = line.split()

    def after(key: str) -> str:
        return words[words.index(key) + 1] if key in words else ""

    if words[0] != "filter":
        return {"dev": after("dev")} if "dev" in words else {}
    actions: list[dict[str, object]] = []
    if "pedit" in words:
        actions.append({"kind": "pedit", "keys": [{"val": f"{int(after('set')):x}0000"}]})
    if "skbedit" in words:
        actions.append({"kind": "skbedit", "mark": int(after("mark"))})
    if "drop" in words:
        actions.append({"kind": "gact", "control_action": {"type": "drop"}})
    return {"keys": {"src_ip": after("src_ip"), "dst_ip": after("dst_ip")}, "actions": actions}
