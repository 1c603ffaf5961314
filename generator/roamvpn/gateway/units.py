"""A generation on disk as what it asks for: lines of ip and tc, connections and secrets of charon."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roamvpn.gateway.errors import GatewayError
from roamvpn.render import swanctl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from roamvpn.render.swanctl import Tree

OWNERS = ("base", "session")
OURS = "rv-"


@dataclass(frozen=True, slots=True)
class Command:
    """One line for `ip -batch` or `tc -batch`."""

    tool: str
    line: str


@dataclass(slots=True)
class Wanted:
    """What a generation asks for. Connections and secrets are trees as the files have them, by name."""

    devices: list[Command] = field(default_factory=list)
    """What lies below: own and shared devices, their rules and routes, queues, classifier."""
    legs: list[Command] = field(default_factory=list)
    """Users' routes and filters, keys and policies set by hand."""
    connections: dict[str, Tree] = field(default_factory=dict)
    secrets: dict[str, Tree] = field(default_factory=dict)
    initiate: set[str] = field(default_factory=set)

    def peer(self, connection: str) -> str:
        """Address of the other end of a connection."""
        return str(self.connections[connection].get("remote_addrs", ""))


def read(generation: Path) -> Wanted:
    """Read a generation's files; raises GatewayError naming the file for anything that is not as we render it."""
    wanted = Wanted()
    wanted.devices += _batch(generation, "base/links.ip", "ip") + _batch(generation, "base/qos.tc", "tc")
    for kind in ("peers", "secrets", "legs"):
        for path in _files(generation, kind):
            _unit(path, path.relative_to(generation).as_posix(), kind, wanted)
    return wanted


def _files(generation: Path, kind: str) -> Iterator[Path]:
    for owner in OWNERS:
        yield from sorted((generation / owner / kind).glob("*.conf"))


def _batch(generation: Path, name: str, tool: str) -> list[Command]:
    path = generation / name
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise GatewayError("read", f"{name}: {error}") from None
    return [Command(tool, line) for line in lines if line and not line.startswith("#")]


def _unit(path: Path, name: str, kind: str, wanted: Wanted) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GatewayError("read", f"{name}: {error}") from None
    parse(text, name, kind, wanted)


def parse(text: str, name: str, kind: str, wanted: Wanted) -> None:
    """Add to `wanted` what the text of one file of `peers`, `secrets` or `legs` asks for; raises as `read` does."""
    try:
        tree = swanctl.load(text)
    except swanctl.SwanctlError as error:
        raise GatewayError("read", f"{name}: {error}") from None
    unknown = set(tree) - {"connections", "secrets", "roamvpn"}
    if unknown:
        raise GatewayError("read", f"{name}: unexpected section {min(unknown)}")
    _named(tree, name, "connections", OURS, wanted.connections)
    _named(tree, name, "secrets", f"ike-{OURS}", wanted.secrets)
    target = wanted.devices if kind == "peers" else wanted.legs
    for unit, node in _section(tree, "roamvpn", name).items():
        if not isinstance(node, dict):
            raise GatewayError("read", f"{name}: {unit} is no section")
        for tool in ("ip", "tc"):
            target += _lines(node, tool, name)
        if node.get("initiate") == "yes":
            wanted.initiate.add(unit)


def _lines(node: Tree, tool: str, file: str) -> list[Command]:
    lines = []
    for number, line in _section(node, tool, file).items():
        if not number.isdecimal() or not isinstance(line, str):
            raise GatewayError("read", f"{file}: {number} is no line of {tool}")
        lines.append((int(number), Command(tool, line)))
    return [command for _number, command in sorted(lines, key=lambda item: item[0])]


def _named(tree: Tree, file: str, section: str, prefix: str, found: dict[str, Tree]) -> None:
    for name, node in _section(tree, section, file).items():
        if not name.startswith(prefix) or name in found or not isinstance(node, dict):
            raise GatewayError("read", f"{file}: unexpected {name} in {section}")
        found[name] = node


def _section(tree: Tree, name: str, file: str) -> Tree:
    node = tree.get(name, {})
    if not isinstance(node, dict):
        raise GatewayError("read", f"{file}: {name} is no section")
    return node
