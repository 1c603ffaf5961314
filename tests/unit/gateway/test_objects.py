from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roamvpn.gateway import objects, units
from roamvpn.gateway.errors import GatewayError

if TYPE_CHECKING:
    from pathlib import Path


def _commands(trees: Path) -> list[units.Command]:
    found = []
    for path in sorted(trees.glob("*/manifest.json")):
        wanted = units.read(path.parent)
        found += [*wanted.devices, *wanted.legs]
    return found


def test_every_line_that_is_rendered_has_a_name_and_a_removal(trees: Path) -> None:
    commands = _commands(trees)
    assert len(commands) > 100
    for command in commands:
        name = objects.of_line(command.tool, command.line)
        tool, line = objects.removal(name)
        assert tool in ("ip", "tc")
        assert line.split()[0] == ("xfrm" if name.split()[0] in ("policy", "state") else name.split()[0])


@pytest.mark.parametrize(
    ("tool", "line", "name", "removal"),
    [
        ("ip", "link add rv-own0 type xfrm if_id 400001", "link rv-own0", "link delete rv-own0"),
        (
            "ip",
            "rule add pref 10000 fwmark 400001 lookup 400001",
            "rule pref 10000 fwmark 400001 lookup 400001",
            "rule delete pref 10000 fwmark 400001 lookup 400001",
        ),
        (
            "ip",
            "route replace prohibit default table 400001 metric 4000",
            "route default table 400001 metric 4000",
            "route delete prohibit default table 400001 metric 4000",
        ),
        (
            "tc",
            "filter replace block 5222 protocol ip pref 10016 handle 5 flower src_ip 203.0.113.5/32 action drop",
            "filter block 5222 pref 10016 handle 5",
            "filter delete block 5222 protocol ip pref 10016 handle 5 flower",
        ),
        ("tc", "qdisc replace dev wan root handle 1: htb default ffff", "qdisc wan root", "qdisc delete dev wan root"),
    ],
)
def test_a_line_its_object_and_its_removal(tool: str, line: str, name: str, removal: str) -> None:
    assert objects.of_line(tool, line) == name
    assert objects.removal(name) == (tool, removal)


@pytest.mark.parametrize(
    ("tool", "line"),
    [
        ("ip", "link add eth0 type dummy"),
        ("ip", "link delete rv-own0"),
        ("ip", "addr add 192.0.2.1/24 dev wan"),
        ("ip", "netns exec x reboot"),
        ("ip", "route replace 10.0.0.0/8 dev wan"),
        ("ip", ""),
        ("tc", "exec bpf"),
        ("tc", "filter add dev wan"),
    ],
)
def test_a_line_that_we_would_not_render_is_refused(tool: str, line: str) -> None:
    with pytest.raises(GatewayError, match="not a line of ours"):
        objects.of_line(tool, line)


def test_what_is_not_ours_is_not_seen() -> None:
    assert objects.links([{"ifname": "wan", "flags": ["UP"], "linkinfo": {"info_kind": "veth"}}]) == {}
    assert objects.rules([{"priority": 32766, "table": "main"}, {"priority": 10000, "table": "77"}]) == {}
    assert objects.routes([{"dst": "10.0.0.0/8", "table": "main"}, {"dst": "default", "table": "399999"}]) == {}
    assert objects.qdiscs([{"dev": "eth0", "kind": "htb", "root": True, "handle": "1:"}]) == {}
    assert objects.policies("src 10.0.0.0/8 dst 0.0.0.0/0\n\tdir out priority 371327\n\tif_id 0x61a81\n") == {}


def test_counters_and_indexes_are_no_difference() -> None:
    options = {
        "handle": 5,
        "keys": {"src_ip": "203.0.113.5"},
        "actions": [{"order": 1, "kind": "pedit", "index": 3, "ref": 1}],
    }
    other = {
        "handle": 5,
        "keys": {"src_ip": "203.0.113.5"},
        "actions": [{"order": 1, "kind": "pedit", "index": 9, "ref": 1}],
    }
    changed = {**options, "keys": {"src_ip": "203.0.113.6"}}
    listed = [objects.filters("block 5222", [{"pref": 10016, "options": each}]) for each in (options, other, changed)]
    assert listed[0] == listed[1] != listed[2]
