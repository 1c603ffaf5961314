"""Settings against the real /proc/sys; set only in a network namespace that goes with its process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from roamvpn.gateway import settings
from roamvpn.gateway.errors import GatewayError

_FORWARD = "net/ipv4/ip_forward"


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    return tmp_path


def _apart(code: str, *arguments: object) -> list[object]:
    """What code prints as JSON, run with settings of its own."""
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", sys.executable, "-c", code, *map(json.dumps, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout)
    return found


def test_every_setting_of_a_rendered_gateway_is_read(trees: Path) -> None:
    found = settings.wanted(trees / "fa21")
    text = (trees / "fa21/base/sysctl.conf").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [f"{key} = {value}" for key, value in found.items()] == lines
    assert found[_FORWARD] == "1"


def test_a_gateway_without_settings_wants_none(tmp_path: Path) -> None:
    assert settings.wanted(tmp_path) == {}


@pytest.mark.parametrize(
    "line",
    [
        "kernel/core_pattern = |/bin/sh",
        "net/ipv4/../../kernel/core_pattern = x",
        "/etc/passwd = x",
        "net/ipv6/conf/all/forwarding = 1",
        " = 1",
    ],
)
def test_a_setting_of_something_else_is_refused(generation: Path, line: str) -> None:
    (generation / "base/sysctl.conf").write_text(f"# of a gateway\n{_FORWARD} = 1\n{line}\n")
    with pytest.raises(GatewayError, match="unexpected setting"):
        settings.wanted(generation)


def test_bytes_that_are_no_text_are_refused(generation: Path) -> None:
    (generation / "base/sysctl.conf").write_bytes(b"net/ipv4/\xff = 1\n")
    with pytest.raises(GatewayError, match=r"base/sysctl\.conf"):
        settings.wanted(generation)


def test_what_stands_otherwise_is_told_with_what_it_is() -> None:
    stands = Path("/proc/sys", _FORWARD).read_text().strip()
    assert settings.differing({_FORWARD: stands}) == {}
    wanted = {_FORWARD: "7", "net/ipv4/conf/no-such-device/rp_filter": "0"}
    assert settings.differing(wanted) == {_FORWARD: stands, "net/ipv4/conf/no-such-device/rp_filter": "absent"}
    assert settings.present(_FORWARD)
    assert not settings.present("net/ipv4/conf/no-such-device/rp_filter")


_APPLY = """
import json, sys
from roamvpn.gateway import settings
wanted = json.loads(sys.argv[1])
print(json.dumps([settings.apply(wanted), settings.apply(wanted), settings.differing(wanted)]))
"""


def test_what_differs_is_set_once() -> None:
    wanted = {"net/ipv4/conf/lo/rp_filter": "2", "net/ipv4/conf/all/send_redirects": "0"}
    done, again, differing = _apart(_APPLY, wanted)
    assert done == [f"sysctl {key}" for key in wanted]
    assert again == []
    assert differing == {}


def test_what_the_kernel_does_not_take_is_an_error_by_name() -> None:
    code = """
import json
from roamvpn.gateway import settings
from roamvpn.gateway.errors import GatewayError
try:
    settings.apply({"net/ipv4/conf/no-such-device/rp_filter": "0"})
except GatewayError as error:
    print(json.dumps([error.step, error.message]))
"""
    assert _apart(code) == ["kernel", "sysctl net/ipv4/conf/no-such-device/rp_filter: No such file or directory"]
