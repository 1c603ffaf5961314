from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from roamvpn.gateway import units
from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.units import Command

if TYPE_CHECKING:
    from pathlib import Path

_LEG = "session/legs/rv-x.conf"


@pytest.fixture
def generation(trees: Path, tmp_path: Path) -> Path:
    shutil.copytree(trees / "fa21", tmp_path / "fa21")
    return tmp_path / "fa21"


def _lines(generation: Path, name: str) -> list[str]:
    return [line for line in (generation / name).read_text().splitlines() if line[:1] not in ("", "#")]


def test_devices_come_before_peers_and_lines_in_their_order(generation: Path) -> None:
    wanted = units.read(generation)
    own = [Command("ip", line) for line in _lines(generation, "base/links.ip")]
    queues = [Command("tc", line) for line in _lines(generation, "base/qos.tc")]
    assert own
    assert queues
    assert wanted.devices[: len(own) + len(queues)] == own + queues
    peers = [command.line for command in wanted.devices[len(own) + len(queues) :] if "rv-a31" in command.line]
    assert peers == [
        "link add rv-a31 mtu 1400 type xfrm if_id 600031",
        "link set rv-a31 up",
        "route replace default dev rv-a31 table 600031",
        "qdisc add dev rv-a31 ingress_block 5222 clsact",
    ]


def test_every_unit_is_read_with_its_secret_and_its_peer(generation: Path) -> None:
    wanted = units.read(generation)
    legs = {path.stem for path in generation.glob("session/legs/*.conf")}
    peers = {path.stem for path in generation.glob("session/peers/*.conf")}
    assert set(wanted.secrets) == {f"ike-{path.stem}" for path in generation.glob("*/secrets/*.conf")}
    assert wanted.secrets
    assert set(wanted.connections) <= legs | peers
    assert wanted.initiate <= legs | peers
    assert wanted.peer("rv-a-ha31") == "192.0.2.31"
    assert all(command.tool in ("ip", "tc") for command in wanted.legs)


def test_more_than_nine_lines_keep_their_order(generation: Path) -> None:
    lines = "".join(f'  {number} = "route replace 10.0.0.{number} table 400000"\n' for number in range(11, 0, -1))
    (generation / _LEG).write_text(f"roamvpn {{\n rv-x {{\n  ip {{\n{lines}}}\n}}\n}}\n")
    found = [command.line for command in units.read(generation).legs if "10.0.0." in command.line]
    assert found == [f"route replace 10.0.0.{number} table 400000" for number in range(1, 12)]


def test_an_empty_generation_asks_for_nothing(tmp_path: Path) -> None:
    assert units.read(tmp_path) == units.Wanted()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("authorities {\n}\n", "unexpected section authorities"),
        ("connections {\n home {\n }\n}\n", "unexpected home in connections"),
        ("connections {\n rv-x = y\n}\n", "unexpected rv-x in connections"),
        ("connections {\n rv-a-ha31 {\n }\n}\n", "unexpected rv-a-ha31 in connections"),
        ("secrets {\n rv-x {\n }\n}\n", "unexpected rv-x in secrets"),
        ("connections = none\n", "connections is no section"),
        ("roamvpn = none\n", "roamvpn is no section"),
        ("roamvpn {\n rv-x = y\n}\n", "rv-x is no section"),
        ("roamvpn {\n rv-x {\n ip = y\n }\n}\n", "ip is no section"),
        ("roamvpn {\n rv-x {\n ip {\n first = y\n }\n }\n}\n", "first is no line of ip"),
        ("roamvpn {\n rv-x {\n tc {\n 1 {\n }\n }\n }\n}\n", "1 is no line of tc"),
        ("include /etc/passwd\n", "an include statement is not expected"),
        ("connections {\n", "a closing brace is missing"),
    ],
)
def test_a_unit_that_we_would_not_render_is_refused_by_name(generation: Path, text: str, reason: str) -> None:
    (generation / _LEG).write_text(text)
    with pytest.raises(GatewayError, match=reason) as caught:
        units.read(generation)
    assert caught.value.step == "read"
    assert caught.value.message.startswith(f"{_LEG}: ")


@pytest.mark.parametrize("name", ["base/links.ip", "base/qos.tc", _LEG])
def test_bytes_that_are_no_text_are_refused_by_name(generation: Path, name: str) -> None:
    (generation / name).write_bytes(b"link add rv-\xff\n")
    with pytest.raises(GatewayError, match=name):
        units.read(generation)
