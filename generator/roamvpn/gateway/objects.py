"""Kernel objects by name: what a line of ours makes, what `ip` and `tc` list, and how to take one away.

An object's name says what it is and reads as a command does: `link rv-own0`, `route default table 400001 metric 4000`,
`filter block 5222 pref 10016 handle 5`. What it is like is told by the kernel itself, as `ip` and `tc` print it:
the same tools show the wanted objects in a scratch namespace and the real ones, so nothing need be translated.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from roamvpn.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json = dict[str, object]
Objects = dict[str, Json]

BLOCKS = (5222, 5223)
UPLINK_BLOCK = 5223
_TABLES = ((400_000, 400_002), (500_000, 565_535), (600_000, 665_535), (700_000, 765_535))
_RULE_PREFS = (10_000, 20_000)
_UPLINK_PREF = 10
_VOLATILE = frozenset({"index", "ref", "bind", "prob", "not_in_hw", "in_hw", "in_hw_count", "used", "used_hw_stats"})


def ours(number: object) -> bool:
    """Whether a table, a mark or an interface id lies in our ranges."""
    try:
        value = int(str(number), 0)
    except ValueError:
        return False
    return any(low <= value <= high for low, high in _TABLES)


def of_line(tool: str, line: str) -> str:
    """Name of the object that a line makes; raises GatewayError for a line that we would not render."""
    words = line.split()
    try:
        name = _of_ip(words) if tool == "ip" else _of_tc(words)
    except (IndexError, ValueError):
        name = None
    if name is None:
        raise GatewayError("read", f"not a line of ours for {tool}: {line[:120]!r}")
    return name


def _after(words: list[str], key: str, default: str | None = None) -> str:
    if key in words:
        return words[words.index(key) + 1]
    if default is None:
        raise ValueError(key)
    return default


def _of_ip(words: list[str]) -> str | None:
    match words[:2]:
        case ["link", "add" | "set"]:
            return f"link {words[2]}" if words[2].startswith("rv-") else None
        case ["rule", "add"]:
            return _rule(_after(words, "pref"), _after(words, "fwmark", "0"), _after(words, "lookup"))
        case ["route", "replace"]:
            destination = words[3] if words[2] == "prohibit" else words[2]
            return _route(destination, _after(words, "table"), _after(words, "metric", "0"))
        case ["xfrm", "policy"]:
            return _policy(*(_after(words, key) for key in ("src", "dst", "dir", "if_id")))
        case ["xfrm", "state"]:
            return _state(_after(words, "dst"), _after(words, "proto"), _after(words, "spi"))
    return None


def _of_tc(words: list[str]) -> str | None:
    match words[0]:
        case "qdisc":
            device = _after(words, "dev")
            root = next((place for place in ("clsact", "root") if place in words), None)
            return f"qdisc {device} {root or 'parent ' + _after(words, 'parent')}"
        case "class":
            return f"class {_after(words, 'dev')} {_after(words, 'classid')}"
        case "filter":
            where = f"block {_after(words, 'block')}" if "block" in words else f"dev {_after(words, 'dev')}"
            return _filter(where, _after(words, "pref"), _after(words, "handle"))
    return None


def _rule(pref: object, mark: object, table: object) -> str:
    value = int(str(mark), 0)
    return f"rule pref {pref}" + (f" fwmark {value}" if value else "") + f" lookup {table}"


def _route(destination: str, table: object, metric: object) -> str:
    text = f"route {destination.removesuffix('/32')} table {table}"
    return text if str(metric) == "0" else f"{text} metric {metric}"


def _policy(source: str, destination: str, direction: str, number: object) -> str:
    return f"policy {source} {destination} {direction} if_id {int(str(number), 0)}"


def _state(destination: str, protocol: str, spi: object) -> str:
    return f"state {destination} {protocol} {int(str(spi), 0):#010x}"


def _filter(where: str, pref: object, handle: object) -> str:
    return f"filter {where} pref {pref} handle {handle}"


def devices(commands: Iterable[tuple[str, str]]) -> set[str]:
    """Interfaces that lines speak of and that are not ours: what a scratch namespace must have."""
    found = set()
    for _tool, line in commands:
        words = line.split()
        for key, value in pairwise(words):
            if key == "dev" and not value.startswith("rv-"):
                found.add(value)
    return found


def removal(name: str) -> tuple[str, str]:
    """Tool and line that take an object away."""
    kind, *words = name.split()
    match kind:
        case "link":
            return "ip", f"link delete {words[0]}"
        case "rule":
            return "ip", f"rule delete {' '.join(words)}"
        case "route":
            prohibit = "prohibit " if "metric" in words else ""
            return "ip", f"route delete {prohibit}{' '.join(words)}"
        case "policy":
            source, destination, direction, _key, number = words
            return "ip", f"xfrm policy delete src {source} dst {destination} dir {direction} if_id {number}"
        case "state":
            destination, protocol, spi = words
            return "ip", f"xfrm state delete dst {destination} proto {protocol} spi {spi}"
        case "qdisc":
            return "tc", f"qdisc delete dev {' '.join(words)}"
        case "class":
            return "tc", f"class delete dev {words[0]} classid {words[1]}"
        case "filter":
            where = " ".join(words[:2]) + (" parent 1:" if words[0] == "dev" else "")
            return "tc", f"filter delete {where} protocol ip {' '.join(words[2:])} flower"
    raise ValueError(name)


def links(listed: Iterable[Json]) -> Objects:
    """From `ip -j -d link show`."""
    found: Objects = {}
    for row in listed:
        name, flags, info = str(row.get("ifname")), row.get("flags"), row.get("linkinfo")
        if name.startswith("rv-") and isinstance(info, dict) and isinstance(flags, list):
            found[f"link {name}"] = {
                "kind": info.get("info_kind"),
                "data": info.get("info_data"),
                "mtu": row.get("mtu"),
                "up": "UP" in flags,
            }
    return found


def rules(listed: Iterable[Json]) -> Objects:
    """From `ip -j rule show`."""
    return {
        _rule(row["priority"], row.get("fwmark", "0"), row["table"]): {}
        for row in listed
        if row.get("priority") in _RULE_PREFS and ours(row.get("table"))
    }


def routes(listed: Iterable[Json]) -> Objects:
    """From `ip -j -d route show table all`."""
    return {
        _route(str(row["dst"]), row["table"], row.get("metric", 0)): {
            key: row.get(key) for key in ("type", "dev", "scope", "gateway") if key in row
        }
        for row in listed
        if ours(row.get("table"))
    }


def qdiscs(listed: Iterable[Json]) -> Objects:
    """From `tc -j qdisc show`. An uplink is known by its ingress block; the HTB tree on it is ours."""
    rows = list(listed)
    uplinks = {row["dev"] for row in rows if row.get("ingress_block") == UPLINK_BLOCK}
    found: Objects = {}
    for row in rows:
        device, options = row.get("dev"), row.get("options")
        if row.get("ingress_block") in BLOCKS:
            found[f"qdisc {device} clsact"] = {"ingress_block": row["ingress_block"]}
        elif device in uplinks and row.get("root") and row.get("kind") == "htb" and row.get("handle") == "1:":
            found[f"qdisc {device} root"] = {"default": options.get("default") if isinstance(options, dict) else None}
        elif device in uplinks and str(row.get("parent", "")).startswith("1:"):
            found[f"qdisc {device} parent {row['parent']}"] = {"kind": row.get("kind")}
    return found


_CLASS = re.compile(r"class htb (?P<id>1:[0-9a-f]+) (?P<rest>.*)")


def classes(device: str, text: str) -> Objects:
    """From `tc class show`, which prints no JSON in iproute2 6.1."""
    found: Objects = {}
    for line in text.splitlines():
        match = _CLASS.match(line)
        if match:
            found[f"class {device} {match['id']}"] = {"is": re.sub(r"leaf \S+ ", "", match["rest"]).strip()}
    return found


def filters(where: str, listed: Iterable[Json]) -> Objects:
    """From `tc -j filter show`; `where` is `block N` or `dev NAME`."""
    found: Objects = {}
    for row in listed:
        options = row.get("options")
        if not isinstance(options, dict) or "handle" not in options:
            continue
        if where.startswith("dev") and row.get("pref") != _UPLINK_PREF:
            continue
        attributes = {key: _settled(value) for key, value in options.items() if key not in _VOLATILE}
        attributes.pop("handle")
        found[_filter(where, row.get("pref"), options["handle"])] = attributes
    return found


def _settled(value: object) -> object:
    if isinstance(value, dict):
        return {key: _settled(item) for key, item in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [_settled(item) for item in value]
    return value


_SELECTOR = re.compile(r"src (\S+) dst (\S+)")


def policies(text: str) -> Objects:
    """Policies set by hand, from `ip xfrm policy list`: charon's have a priority, ours none."""
    found: Objects = {}
    for block in _blocks(text):
        head = _SELECTOR.match(block)
        direction = re.search(r"\bdir (\w+) priority 0\b", block)
        number = re.search(r"\bif_id (\S+)", block)
        if head and direction and number and ours(number[1]):
            found[_policy(head[1], head[2], direction[1], number[1])] = {}
    return found


def states(text: str) -> Objects:
    """States set by hand, from `ip xfrm state list nokeys`: their reqid is their SPI."""
    found: Objects = {}
    for block in _blocks(text):
        head = _SELECTOR.match(block)
        match = re.search(r"proto (\w+) spi (0x[0-9a-f]+) reqid (\d+)", block)
        number = re.search(r"\bif_id (\S+)", block)
        if head and match and number and ours(number[1]) and int(match[2], 16) == int(match[3]):
            found[_state(head[2], match[1], match[2])] = {}
    return found


def _blocks(text: str) -> Iterator[str]:
    block: list[str] = []
    for line in text.splitlines():
        if line[:1].strip() and block:
            yield "\n".join(block)
            block = []
        block.append(line)
    if block:
        yield "\n".join(block)
