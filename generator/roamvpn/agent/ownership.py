"""Which objects sessions own here, and whether a live one is what its lines ask for.

A session owns filters of its priorities, visitors' routes, policies and states of users' own devices, and devices and
connections shared with gateways that are signalled. All else belongs to the playbooks, or to others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from roamvpn.gateway.units import OURS
from roamvpn.policy import naming
from roamvpn.tables.gateway_state import BASE
from roamvpn.tables.types import Keying, Role, Security

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roamvpn.gateway.objects import Json
    from roamvpn.tables.gateway_state import GatewayState, Unit
    from roamvpn.tables.network import Network

_LEG = re.compile(r"rv-[ph][1-9][0-9]*-u(?P<user>[0-9a-f]{8})-.+\Z")
_OWN_NUMBERS = frozenset(naming.own_device(generation)[1] for generation in (0, 1))
SESSION_PRIORITIES = range(10_000, 20_000)


class Ownership:
    """What sessions own at one gateway of a network."""

    def __init__(self, network: Network, gateway: str) -> None:
        signalled = Role.STATIC not in network.gateways[gateway].roles
        peers = [
            (name, node.number)
            for name, node in network.gateways.items()
            if signalled and name != gateway and Role.STATIC not in node.roles
        ]
        self._connections = {naming.peer_name(kind, name) for name, _number in peers for kind in Security}
        shared = [naming.shared_device(kind, number) for _name, number in peers for kind in Security]
        self._devices = {device for device, _mark in shared}
        self._numbers = {str(mark) for _device, mark in shared}

    def connection(self, name: str) -> bool:
        """Whether a connection or secret is a session's."""
        return user_in(name) is not None or name in self._connections

    def object(self, name: str, state: GatewayState) -> bool:
        """Whether a kernel object is a session's; `state` tells what the base has set by hand."""
        kind, *words = name.split()
        match kind:
            case "filter":
                return words[0] == "block" and int(words[3]) in SESSION_PRIORITIES
            case "route":
                table = words[words.index("table") + 1]
                return table == str(naming.VISITORS_TABLE) or table in self._numbers
            case "rule":
                return words[-1] in self._numbers
            case "link" | "qdisc":
                return words[0] in self._devices
            case "policy":
                return int(words[-1]) in _OWN_NUMBERS
            case "state":
                return int(words[-1], 16) not in _base_spis(state)
        return False


def _base_spis(state: GatewayState) -> set[int]:
    units: list[Unit] = [*state.peers.values(), *state.legs.values()]
    by_hand = [unit for unit in units if unit.owner == BASE and unit.keying is Keying.STATIC]
    return {spi for unit in by_hand for spi in (unit.in_spi, unit.out_spi)}


def user_in(name: str) -> str | None:
    """The user's hash in the name of a connection of his own, or None."""
    match = _LEG.match(name) if name.startswith(OURS) else None
    return match["user"] if match is not None else None


def stands(live: Json, lines: tuple[str, ...]) -> bool:
    """Whether a live object is what its lines ask for, in all that makes packets go one way or another."""
    words = lines[0].split()
    match words[0]:
        case "filter":
            return _filter(live) == _asked(words)
        case "route" if "dev" in words:
            return live.get("dev") == words[words.index("dev") + 1]
    return True


Filter = tuple[str, str, int, int, bool]
"""Source, destination, DS field or -1, mark, whether it drops."""


def _asked(words: list[str]) -> Filter:
    def after(key: str, default: str) -> str:
        return words[words.index(key) + 1] if key in words else default

    field = int(after("set", "-1"), 0)
    return _short(after("src_ip", "")), _short(after("dst_ip", "")), field, int(after("mark", "0"), 0), "drop" in words


def _filter(live: Json) -> Filter:
    keys, actions = live.get("keys"), live.get("actions")
    field, mark, drops = -1, 0, False
    for action in actions if isinstance(actions, list) else ():
        match action.get("kind"):
            case "pedit":
                field = _field(action)
            case "skbedit":
                mark = int(str(action.get("mark", 0)), 0)
            case "gact":
                drops = action.get("control_action", {}).get("type") == "drop"
    where: Mapping[str, object] = keys if isinstance(keys, dict) else {}
    return _short(str(where.get("src_ip", ""))), _short(str(where.get("dst_ip", ""))), field, mark, drops


def _field(action: Mapping[str, object]) -> int:
    """The DS field that a pedit of the first word of the header sets: its second byte."""
    rows = action.get("keys")
    for row in rows if isinstance(rows, list) else ():
        value = row.get("val")
        if value is not None:
            return (int(str(value), 16) >> 16) & 0xFF
    return -1


def _short(address: str) -> str:
    return address.removesuffix("/32")
