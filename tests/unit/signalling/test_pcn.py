"""The PCN step by step: one VPN each, posted, replaced, asked for, and lapsing (A7, B22, D13, E7.5, G22)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.signalling.effects import Do, Order, steps
from roamvpn.signalling.messages import Address, Ba, Br, Bu, Code, NodeRole, Timer
from roamvpn.signalling.node import Node
from tests.signalled import CAROL, FRANK, Bench, applies, names, one, ways

if TYPE_CHECKING:
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.pcn import PcnEntry

NOW = 1000
KEY = f"{FRANK} 7"
HA = Address(NodeRole.HA, "ha31")


def _bu(bench: Bench, seq: int, agent: str = "fa21", lifetime: int = 60, generation: int = 0) -> Bu:
    information = bench.information(FRANK, agent, generation).posted(7) if lifetime else None
    return Bu(FRANK, seq, HA, lifetime, 7, information)


def _posted(bench: Bench, seq: int = 1) -> tuple[PcnEntry, list[Effect]]:
    entry, effects = bench.pcn().handle(None, _bu(bench, seq), NOW)
    assert entry is not None
    return entry, effects


def test_a_binding_update_is_stored_set_and_then_acknowledged() -> None:  # B22, E4.3, G22
    entry, effects = _posted(Bench())
    assert names(effects) == ["Apply", "BA"]
    (apply,) = applies(effects)
    assert ways(apply.set) == ["pcn41b→fa21"]
    done = [step.do for step in steps(apply, Order.PATENT)]
    assert done == [Do.DS, Do.TUNNEL, Do.DECODE]
    ba = one(effects, Ba)
    assert (ba.status, ba.seq, ba.profile_number) == (Code.ACCEPTED, 1, 7)
    assert entry.expires == NOW + 60_000


def test_a_move_replaces_what_was_posted_and_deletes_the_tunnel_to_the_old_agent() -> None:  # D13, E5.2, F4
    bench = Bench()
    entry, _ = _posted(bench)
    after, effects = bench.pcn().handle(entry, _bu(bench, 2, "fa21b", generation=1), NOW)
    (apply,) = applies(effects)
    assert ways(apply.set) == ["pcn41b→fa21b"]
    assert ways(apply.delete) == ["pcn41b→fa21"]
    assert after is not None
    assert after.information is not None
    assert after.information.foreign_agent == "fa21b"


def test_a_repetition_is_acknowledged_again_and_sets_nothing_twice() -> None:
    bench = Bench()
    entry, _ = _posted(bench)
    after, effects = bench.pcn().handle(entry, _bu(bench, 1), NOW)
    assert after == entry
    assert names(effects) == ["BA"]


def test_what_is_older_is_told_so_and_changes_nothing() -> None:
    bench = Bench()
    entry, _ = bench.pcn().handle(None, _bu(bench, 5, "fa21b", generation=1), NOW)
    for older in (_bu(bench, 4), _bu(bench, 4, lifetime=0)):
        after, effects = bench.pcn().handle(entry, older, NOW)
        assert after == entry
        assert one(effects, Ba).status is Code.STALE
        assert applies(effects) == []


def test_a_refresh_moves_the_end_and_nothing_else() -> None:  # E7.5, G3
    bench = Bench()
    entry, _ = _posted(bench)
    after, effects = bench.pcn().handle(entry, _bu(bench, 1), NOW + 50_000)
    assert after is not None
    assert after.expires == entry.expires + 50_000
    assert applies(effects) == []


def test_the_home_agent_is_asked_at_the_threshold_and_again_while_it_is_silent() -> None:  # B22, E7.5
    bench = Bench()
    entry, _ = _posted(bench)
    after: PcnEntry | None = entry
    asked = []
    for _ in range(10):
        if after is None or after.information is None:
            break
        now = bench.pcn().deadline(after)
        after, effects = bench.pcn().handle(after, Timer(KEY), now)
        if now < entry.expires:
            # the VPN stands until its lifetime ends, not until somebody asks
            assert names(effects) == ["BR"]
            assert one(effects, Br) == Br(FRANK, Address(NodeRole.PCN, "pcn41b"), 7)
            asked.append(entry.expires - now)
    assert asked[0] == bench.settings.br_threshold * 1000
    assert len(asked) > 1
    assert now == entry.expires
    assert ways(applies(effects)[0].delete) == ["pcn41b→fa21"]


def test_a_vpn_that_lapsed_may_be_posted_again_by_the_same_event() -> None:  # G25
    bench = Bench()
    entry, _ = _posted(bench)
    lapsed, _ = bench.pcn().handle(entry, Timer(KEY), entry.expires)
    after, effects = bench.pcn().handle(lapsed, _bu(bench, 1), entry.expires)
    assert after is not None
    assert after.information is not None
    assert names(effects) == ["Apply", "BA"]


def test_a_delete_removes_and_what_of_its_event_comes_late_sets_nothing() -> None:  # F10
    bench = Bench()
    entry, _ = _posted(bench)
    gone, effects = bench.pcn().handle(entry, _bu(bench, 2, lifetime=0), NOW)
    assert ways(applies(effects)[0].delete) == ["pcn41b→fa21"]
    assert gone is not None
    assert gone.information is None
    for late in (_bu(bench, 2), _bu(bench, 1)):
        after, effects = bench.pcn().handle(gone, late, NOW)
        assert after == gone
        assert one(effects, Ba).status is Code.STALE


def test_the_memory_of_a_delete_ends() -> None:
    bench = Bench()
    gone, _ = bench.pcn().handle(None, _bu(bench, 2, lifetime=0), NOW)
    assert bench.pcn().handle(gone, Timer(KEY), NOW + bench.settings.remember * 1000) == (None, [])


def test_two_vpns_of_one_user_come_and_go_by_themselves() -> None:  # D10
    bench = Bench()
    node = Node("pcn41b", [bench.pcn()])
    frank, carol = bench.information(FRANK), bench.information(CAROL)
    # one user with both profiles, as after a service update
    other = carol.posted(4)._replace(nai=FRANK)
    empty = other._replace(segments=())
    node.receive(NodeRole.PCN, Bu(FRANK, 1, HA, 60, 4, empty), NOW)
    node.tables[NodeRole.PCN].pop(f"{FRANK} 7", None)
    assert set(node.tables[NodeRole.PCN]) == {f"{FRANK} 4"}
    node.receive(NodeRole.PCN, Bu(FRANK, 1, HA, 60, 7, frank._replace(segments=())), NOW)
    assert set(node.tables[NodeRole.PCN]) == {f"{FRANK} 4", f"{FRANK} 7"}
    node.receive(NodeRole.PCN, Bu(FRANK, 2, HA, 0, 4), NOW)
    table = node.tables[NodeRole.PCN]
    assert table[f"{FRANK} 4"].information is None
    assert table[f"{FRANK} 7"].information is not None


def test_a_restored_entry_has_the_same_leg() -> None:
    bench = Bench()
    entry, _ = _posted(bench)
    assert bench.pcn().restored(entry._replace(legs=())) == entry
