"""What an operator sees of an agent: who is served, where, by which tunnels; on entries of a move that was played."""

from __future__ import annotations

from collections import deque
from io import StringIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from rich.console import Console

from roamvpn.agent.status import show, status
from roamvpn.daemon.runtime import Raised, Runtime
from roamvpn.policy.keys import derived
from roamvpn.sim.options import MILLISECOND
from roamvpn.sim.world import World, seconds
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.tables.site import load_site

if TYPE_CHECKING:
    from typing import Any

ALICE, FRANK = "alice@isp3.example", "frank@isp3.example"


@pytest.fixture(scope="module")
def world() -> World:
    """Alice has just moved from fa21 to fa21b, where Frank is."""
    found = World(load_site(read_site(example_site(), with_secrets=False)).tables, derived(bytes(32)))
    found.register(ALICE, "fa21")
    found.register(FRANK, "fa21b")
    found.run(seconds(20))
    found.move(ALICE, "fa21b")
    found.run(found.now + seconds(1))
    return found


def _status(world: World, name: str, *alarms: Raised) -> dict[str, Any]:
    # of a runtime that has nothing to do only these are looked at
    runtime = cast("Runtime", SimpleNamespace(node=world.nodes[name], waiting=0, alarms=deque(alarms)))
    return status(runtime, world.now // MILLISECOND, {"charon": "answers"})


def test_each_end_of_a_move_says_where_the_user_is(world: World) -> None:
    states = {
        name: [row["state"] for row in _status(world, name)["sessions"] if row["nai"] == ALICE]
        for name in ("fa21b", "fa21", "ha31")
    }
    assert states == {
        "fa21b": ["handed off from fa21", "served"],
        "fa21": ["handed off to fa21b"],
        "ha31": ["bound"],
    }


def test_a_tunnel_is_told_with_its_far_end_and_what_it_reaches(world: World) -> None:
    (row,) = [row for row in _status(world, "fa21b")["sessions"] if row["nai"] == FRANK]
    (vpn,) = row["vpns"]
    assert (vpn["to"], vpn["peer"], vpn["security"], vpn["share"]) == ("10.5.1.9/32", "pcn41b", "esp", "own")
    assert 0 < row["expires_in_s"] <= 1800


def test_the_page_has_alarms_before_users(world: World) -> None:
    out = StringIO()
    show(_status(world, "fa21b", Raised(0.0, FRANK, "session: rv-x: not up in time")), Console(file=out, width=200))
    text = out.getvalue()
    assert text.index(f"alarm: {FRANK} session: rv-x: not up in time") < text.index("handed off from fa21")
    assert "10.5.1.9/32 by pcn41b (own esp)" in text


def test_a_page_of_nobody_says_so(world: World) -> None:
    out = StringIO()
    show(_status(world, "fa22"), Console(file=out, width=200))
    assert "nobody is registered" in out.getvalue()
