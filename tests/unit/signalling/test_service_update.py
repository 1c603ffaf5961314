"""E7: other VPNs for a user who stays, or moves; the old PCN asks, is not answered, and lets its VPN end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roamvpn.signalling.effects import Order
from roamvpn.signalling.messages import Bu, Code, NodeRole, ServiceUpdate
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import World, seconds
from tests.documents import Documents
from tests.signalled import ALICE, CAROL, FRANK, GRACE, after_each, all_tunnels, go, tunnels, watched, world_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roamvpn.tables.records import VpnRecord

OWN: dict[str, Any] = {"vpnshare": 1, "upclass": "ef", "downclass": "ef", "up_spi": 0x3001, "down_spi": 0x3002}
SHARED: dict[str, Any] = {"vpnshare": 0}


def _records(nai: str, *records: dict[str, Any]) -> tuple[VpnRecord, ...]:
    """What a user's VPN records become: everything about them may change."""
    documents = Documents()
    documents.records = [each for each in documents.records if each["nai"] != nai]
    documents.records += [{"profile_number": 50 + n, "nai": nai, **record} for n, record in enumerate(records)]
    return tuple(documents.site().tables.vpn_database.get(nai, ()))


def _ask(world: World, nai: str, records: Sequence[VpnRecord], wait: float = 1) -> None:
    world.database[nai] = tuple(records)
    world.mobile(nai).update = ServiceUpdate()
    world.refresh(nai)
    world.run(world.now + seconds(wait))


FAR = {"destaddr": "198.51.100.7", **OWN}
WIDE = {"destaddr": "198.51.100.0/25", **OWN}
OTHER = {"destaddr": "198.51.100.130", **OWN, "up_spi": 0x3003, "down_spi": 0x3004}
FIRM = {"destaddr": "10.5.3.0/24", **OWN}
CHANGES: dict[str, tuple[tuple[dict[str, Any], ...], set[str]]] = {
    "nothing": ((), set()),
    "another PCN": ((OTHER,), {"fa21→pcn41b", "pcn41b→fa21"}),
    "the enterprise": ((FIRM,), {"fa21→ha31", "ha31→fa21", "ha31→gw51"}),
    "both": ((FAR, {**FIRM, "up_spi": 9001, "down_spi": 9002}), {"fa21→pcn41", "fa21→ha31", "ha31→gw51"}),
    "other protection": (({**FAR, "security": "ah"},), {"fa21→pcn41"}),
    "another class": (({**FAR, "upclass": "af11", "downclass": "none"},), {"fa21→pcn41"}),
    "what gateways share": (({"destaddr": "198.51.100.7", **SHARED},), {"fa21→pcn41"}),
    "a wider prefix": ((WIDE,), {"fa21→pcn41"}),
    "two at one PCN": ((FAR, {**OTHER, "destaddr": "198.51.100.8"}), {"fa21→pcn41"}),
}
BEFORE = _records(CAROL, FAR)


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_set_at_once_and_the_rest_lapses(change: str, order: Order) -> None:  # E7, C11, D16
    records, ways = CHANGES[change]
    world = world_of(order=order)
    world.database[CAROL] = BEFORE
    go(world, CAROL, "fa21", 15)
    _ask(world, CAROL, _records(CAROL, *records))
    assert differences(world, settled=False) == []
    assert ways <= all_tunnels(world)
    assert tunnels(world, "fa21") == {way for way in ways if way.startswith("fa21")}
    # and back again, while the old PCN still holds its VPN
    _ask(world, CAROL, BEFORE)
    assert differences(world, settled=False) == []
    assert tunnels(world, "fa21") == {"fa21→pcn41"}
    world.run(world.now + seconds(90))
    assert differences(world, settled=False) == []
    assert all_tunnels(world) == {"fa21→pcn41", "pcn41→fa21"}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("to", ["fa21b", "fa22"])
def test_a_move_with_the_update_and_a_move_after_it_take_the_new_vpns_along(change: str, to: str) -> None:  # E7
    records, _ = CHANGES[change]
    world = world_of()
    world.database[CAROL] = BEFORE
    go(world, CAROL, "fa21", 15)
    world.database[CAROL] = _records(CAROL, *records)
    world.mobile(CAROL).update = ServiceUpdate()
    go(world, CAROL, to)
    assert differences(world, settled=False) == []
    go(world, CAROL, "fa21")
    assert differences(world, settled=False) == []
    world.run(world.now + seconds(90))
    assert differences(world, settled=False) == []


def test_a_change_of_the_database_alone_changes_no_tunnel_even_at_a_move() -> None:  # E7.1, C4
    world = world_of()
    go(world, FRANK, "fa21", 15)
    world.database[FRANK] = _records(FRANK, FAR)
    world.refresh(FRANK)
    world.run(world.now + seconds(1))
    assert tunnels(world, "fa21") == {"fa21→pcn41b"}
    go(world, FRANK, "fa22")
    assert tunnels(world, "fa22") == {"fa22→pcn41b"}
    assert differences(world, settled=False) == []


def test_the_old_pcn_asks_is_not_answered_and_deletes_when_its_lifetime_ends_not_before() -> None:  # E7.5
    world = world_of()
    go(world, FRANK, "fa21")
    granted = world.nodes["pcn41b"].tables[NodeRole.PCN][f"{FRANK} 7"].expires
    world.run(world.now + seconds(20))
    _ask(world, FRANK, _records(FRANK, FAR))
    sent = watched(world)
    world.run(granted * 1000 - 1)
    asked = [each for each in sent if each.name == "BR" and each.sender.name == "pcn41b"]
    assert len(asked) >= 2
    assert not [each for each in sent if isinstance(each.message, Bu) and each.to.name == "pcn41b"]
    assert tunnels(world, "pcn41b") == {"pcn41b→fa21"}
    world.run(granted * 1000 + 1000)
    assert tunnels(world, "pcn41b") == set()
    assert differences(world, settled=False) == []


def test_the_new_pcn_asks_and_is_answered_while_the_vpn_is_cached() -> None:  # B21, E7.5
    world = world_of()
    go(world, FRANK, "fa21")
    _ask(world, FRANK, _records(FRANK, FAR))
    sent = watched(world)
    world.run(world.now + seconds(200))
    names = [each.name for each in sent if "pcn41" in (each.sender.name, each.to.name)]
    assert names.count("BR") >= 3
    assert names.count("BU") == names.count("BA") == names.count("BR")
    assert differences(world, settled=False) == []


def test_who_moves_on_leaves_the_lapsing_vpn_at_the_old_pcn_to_its_end() -> None:  # E7.5, F9
    world = world_of()
    go(world, FRANK, "fa21")
    _ask(world, FRANK, _records(FRANK, FAR))
    go(world, FRANK, "fa22", 12)
    assert all_tunnels(world) == {"fa22→pcn41", "pcn41→fa22", "pcn41b→fa21"}
    assert differences(world, settled=False) == []
    world.run(world.now + seconds(60))
    assert all_tunnels(world) == {"fa22→pcn41", "pcn41→fa22"}


@pytest.mark.parametrize("node", ["fa21", "aaaf23", "aaah33", "ha31", "pcn41", "pcn41b"])
def test_any_node_may_crash_after_any_event_of_a_service_update(node: str) -> None:  # E7, G25
    wrong = {}
    for number in range(14):
        world = world_of()
        go(world, FRANK, "fa21", 15)

        def crash(handled: int, _who: object, world: World = world, number: int = number) -> None:
            if handled == number:
                world.crash(node)
                world.at(world.now + 50_000, lambda: world.restart(node))

        after_each(world, crash)
        _ask(world, FRANK, _records(FRANK, FAR), 45)
        if found := differences(world, settled=False) or tunnels(world, "fa21") ^ {"fa21→pcn41"}:
            wrong[number] = found
    assert wrong == {}


def test_without_the_database_the_update_waits_and_the_old_vpns_stay() -> None:  # G25
    world = world_of()
    go(world, FRANK, "fa21", 15)
    world.database_up = False
    _ask(world, FRANK, _records(FRANK, FAR))
    assert world.mobile(FRANK).codes[Code.FA_RESOURCES] == 1
    assert all_tunnels(world) == {"fa21→pcn41b", "pcn41b→fa21"}
    world.run(world.now + seconds(5))
    assert all_tunnels(world) == {"fa21→pcn41b", "pcn41b→fa21"}
    world.database_up = True
    world.run(world.now + seconds(5))
    assert tunnels(world, "fa21") == {"fa21→pcn41"}
    assert differences(world, settled=False) == []


@pytest.mark.parametrize("nai", [ALICE, GRACE])
def test_a_first_vpn_and_the_loss_of_the_last_need_no_registration_anew(nai: str) -> None:  # E7
    world = world_of()
    go(world, nai, "fa21", 15)
    _ask(world, nai, _records(nai, FAR))
    assert all_tunnels(world) == {"fa21→pcn41", "pcn41→fa21"}
    _ask(world, nai, ())
    assert tunnels(world, "fa21") == set()
    assert differences(world, settled=False) == []
    world.run(world.now + seconds(90))
    assert all_tunnels(world) == set()
    assert world.mobile(nai).served_at == "fa21"
    assert differences(world, settled=False) == []
