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
        (
            "tc",
            "qdisc replace dev wan parent 1:ffff fq_codel",
            "qdisc wan parent 1:ffff",
            "qdisc delete dev wan parent 1:ffff",
        ),
        (
            "tc",
            "class replace dev wan parent 1:1 classid 1:12e htb rate 2000kbit ceil 4000kbit",
            "class wan 1:12e",
            "class delete dev wan classid 1:12e",
        ),
        (
            "tc",
            "filter replace dev wan parent 1: protocol ip pref 10 handle 46 flower ip_tos 184/0xfc classid 1:12e",
            "filter dev wan pref 10 handle 46",
            "filter delete dev wan parent 1: protocol ip pref 10 handle 46 flower",
        ),
    ],
)
def test_a_line_its_object_and_its_removal(tool: str, line: str, name: str, removal: str) -> None:
    assert objects.of_line(tool, line) == name
    assert objects.removal(name) == (tool, removal)


def test_a_line_and_what_the_kernel_lists_have_one_name() -> None:
    lines = [
        ("ip", "route replace 203.0.113.5/32 dev lan table 400000"),
        ("ip", "route replace prohibit default metric 4000 table 600031"),
        ("ip", "rule add pref 10000 fwmark 600031 lookup 600031"),
        ("ip", "link add rv-a31 mtu 1400 type xfrm if_id 600031"),
        ("tc", "qdisc add dev rv-a31 ingress_block 5222 clsact"),
        ("tc", "filter replace block 5222 protocol ip pref 10016 handle 5 flower action drop"),
    ]
    listed: objects.Objects = {
        **objects.routes(
            [
                {"dst": "203.0.113.5", "dev": "lan", "table": "400000", "scope": "link", "flags": []},
                {"type": "prohibit", "dst": "default", "dev": "lo", "table": "600031", "metric": 4000, "flags": []},
            ]
        ),
        **objects.rules([{"priority": 10000, "src": "all", "fwmark": "0x927df", "table": "600031"}]),
        **objects.links(
            [{"ifname": "rv-a31", "flags": ["NOARP", "UP"], "mtu": 1400, "linkinfo": {"info_kind": "xfrm"}}]
        ),
        **objects.qdiscs([{"kind": "clsact", "dev": "rv-a31", "parent": "ffff:fff1", "ingress_block": 5222}]),
        **objects.filters("block 5222", [{"pref": 10016, "kind": "flower", "options": {"handle": 5, "keys": {}}}]),
    }
    assert list(listed) == [objects.of_line(tool, line) for tool, line in lines]


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
