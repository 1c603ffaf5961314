"""The plan for one user: whatever is wished and whatever fails, it ends where it shall, and nothing breaks before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roamvpn.agent.plan import Have, Key, Part, Step, Verb, Want, plan, waiting
from roamvpn.signalling.effects import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MBB, PATENT = Order.MAKE_BEFORE_BREAK, Order.PATENT


def leg(  # the parts that decide about the order
    profile: int = 1, generation: int = 0, peer: str = "fa1", kind: str = "own", *, hand_off: bool = False
) -> Part:
    """A leg as a gateway would have it; `kind` is own, shared, plain (no association) or decode (own, inbound only)."""
    mark = generation & 1
    name = f"rv-{'h' if hand_off else 'p'}{profile}-{peer}"
    key = Key(name, f"d{generation}", mark) if kind in ("own", "decode") else None
    slot = f"{profile}{'h' if hand_off else ''}" if kind != "decode" else name
    where = f"mark {mark}" if key is not None else f"mark {peer}"
    return Part(
        name=name,
        slot=slot,
        profile=profile,
        hand_off=hand_off,
        key=key,
        peer=peer if kind == "shared" else None,
        decode={"route mobile": ("route",)},
        switch={} if kind == "decode" else {f"filter {slot}": (where,)},
    )


def verbs(steps: Iterable[Step]) -> list[Verb]:
    return [step.verb for step in steps if step.verb not in (Verb.LOADED, Verb.DONE)]


def test_nothing_is_done_where_all_stands() -> None:
    part = leg()
    assert part.key is not None
    have = Have((part,), {**part.decode, **part.switch}, frozenset(), frozenset({part.key}))
    for order in Order:
        assert plan(have, Want((part,)), order).empty


def test_a_first_leg_is_loaded_guarded_raised_and_unloaded() -> None:
    assert verbs(plan(Have(), Want((leg(),)), MBB).steps) == [
        Verb.LOAD,
        Verb.DECODE,
        Verb.RAISE,
        Verb.UNLOAD,
    ]


def test_packets_of_a_first_leg_are_caught_before_it_is_up() -> None:
    # fail closed: what belongs into a tunnel is not sent in clear while there is none
    decode = next(step for step in plan(Have(), Want((leg(),)), MBB).steps if step.verb is Verb.DECODE)
    assert "filter 1" in decode.objects


def test_a_hand_off_does_not_catch_packets_before_it_is_up() -> None:
    steps = plan(Have(), Want((leg(hand_off=True),)), MBB).steps
    assert all("filter 1h" not in step.objects for step in steps if step.verb is Verb.DECODE)


def test_a_successor_with_another_destination_catches_nothing_before_it_is_up() -> None:
    # E7: what it would catch may be what the old leg still carries
    old = leg()
    assert old.key is not None
    have = Have((old,), {**old.decode, **old.switch}, frozenset(), frozenset({old.key}))
    new = leg(generation=1, peer="fa2")._replace(switch={"filter other": ("mark 1",)})
    steps = plan(have, Want((new,)), MBB).steps
    assert [step.verb for step in steps if "filter other" in step.objects] == [Verb.SWITCH]


def test_what_is_prepared_decodes_and_is_not_waited_for() -> None:
    steps = plan(Have(), Want((), (leg(),)), MBB).steps
    assert verbs(steps) == [Verb.LOAD, Verb.DECODE]
    assert [step.objects for step in steps if step.verb is Verb.DECODE] == [("route mobile",)]


def test_a_part_that_only_decodes_is_not_waited_for() -> None:
    assert Verb.RAISE not in verbs(plan(Have(), Want((leg(kind="decode"),)), MBB).steps)


def test_make_before_break_removes_last_and_the_patent_first() -> None:
    # G23, D16
    old, new = leg(generation=0), leg(generation=1, peer="fa2")
    assert old.key is not None
    have = Have((old,), {**old.decode, **old.switch}, frozenset(), frozenset({old.key}))
    assert verbs(plan(have, Want((new,)), MBB).steps)[-1] is Verb.RETIRE
    assert verbs(plan(have, Want((new,)), PATENT).steps)[0] is Verb.RETIRE


def test_marking_comes_before_the_tunnel_in_the_patents_order() -> None:
    # D14, F5
    found = verbs(plan(Have(), Want((leg(),)), PATENT).steps)
    assert found.index(Verb.SWITCH) < found.index(Verb.RAISE) < found.index(Verb.DECODE)


def test_a_class_alone_changes_the_filter_and_no_association() -> None:
    part = leg()
    assert part.key is not None
    have = Have((part,), {**part.decode, **part.switch}, frozenset(), frozenset({part.key}))
    other = part._replace(switch={"filter 1": ("mark 0 dscp 46",)})
    assert verbs(plan(have, Want((other,)), MBB).steps) == [Verb.SWITCH]


def test_a_profile_whose_new_leg_is_stuck_stays_and_the_other_goes_on() -> None:
    one, two = leg(1), leg(2)
    new_one, new_two = leg(1, 1, "fa2"), leg(2, 1, "fa2")
    keys = [part.key for part in (one, two) if part.key is not None]
    have = Have((one, two), {**one.decode, **one.switch, **two.switch}, frozenset(), frozenset(keys))
    assert new_one.key is not None
    assert new_two.key is not None
    up = have._replace(up=have.up | {new_two.key})
    made = plan(up, Want((new_one, new_two)), MBB, frozenset({new_one.key}))
    assert list(made.force) == [one, new_two]
    assert made.lines["filter 1"] == one.switch["filter 1"]
    retired = [key for step in made.steps if step.verb is Verb.RETIRE for key in step.keys]
    assert retired == [two.key]


def test_a_shared_peer_is_built_waited_for_and_released() -> None:
    # F7
    part = leg(kind="shared")
    assert verbs(plan(Have(), Want((part,)), MBB).steps) == [Verb.BUILD, Verb.DECODE, Verb.RAISE]
    have = Have((part,), {**part.decode, **part.switch}, peers=frozenset({"fa1"}))
    assert verbs(plan(have, Want(), MBB).steps) == [Verb.CLEAR, Verb.RELEASE]


# any history


@dataclass
class Gateway:
    """Kernel and charon as a model, and what the applier remembers; `fails` says which step does not work."""

    order: Order
    objects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    loaded: set[Key] = field(default_factory=set)
    up: set[Key] = field(default_factory=set)
    peers: set[str] = field(default_factory=set)
    force: tuple[Part, ...] = ()
    dead: set[Key | str] = field(default_factory=set)
    """Associations that do not come up."""

    def have(self) -> Have:
        return Have(self.force, dict(self.objects), frozenset(self.loaded), frozenset(self.up), frozenset(self.peers))

    def works(self) -> dict[str, bool]:
        """Slots in force, and whether packets get through."""
        found = {}
        for part in self.force:
            for name in part.switch:
                found[part.slot] = self._carried(name)
        return found

    def _carried(self, name: str) -> bool:
        """Whether a filter sends packets where somebody takes them."""
        lines = self.objects.get(name)
        return any(
            part.switch.get(name) == lines and not waiting(self.have(), part) for part in (*self.force, *self.wanted)
        )

    wanted: tuple[Part, ...] = ()

    def converge(self, want: Want, fails: Callable[[Verb], bool], check: Callable[[], None]) -> bool:
        """As the carrier does it; False where it was not finished."""
        self.wanted = (*want.parts, *want.prepared)
        stuck: frozenset[Key | str] = frozenset()
        while True:
            now = plan(self.have(), want, self.order, stuck)
            for step in now.steps:
                if fails(step.verb):
                    return False
                if step.verb is Verb.RAISE:
                    late = {each for each in (*step.keys, *step.peers) if each in self.dead}
                    self.up |= {key for key in step.keys if key not in late}
                    self.peers |= {peer for peer in step.peers if peer not in late}
                    if late:
                        stuck |= late
                        break
                self.step(step, now.lines, now.force)
                check()
            else:
                return not stuck

    def step(self, step: Step, lines: object, force: tuple[Part, ...]) -> None:
        assert isinstance(lines, dict)
        match step.verb:
            case Verb.LOAD:
                self.loaded |= set(step.keys)
            case Verb.DECODE | Verb.SWITCH:
                self.objects |= {name: lines[name] for name in step.objects}
            case Verb.DONE:
                self.force = force
            case Verb.UNLOAD:
                self.loaded -= {key for key in step.keys if key in self.up}
            case Verb.CLEAR:
                for name in step.objects:
                    self.objects.pop(name, None)
                self.force = tuple(part for part in self.force if part in force)
            case Verb.RETIRE:
                self.loaded -= set(step.keys)
                self.up -= set(step.keys)
            case Verb.RELEASE:
                self.peers -= set(step.peers)


# to tell somebody is nothing that fails
FAILING = [verb for verb in Verb if verb not in (Verb.LOADED, Verb.DONE)]
PEERS = st.sampled_from(["fa1", "fa2", "ha3"])
KINDS = st.sampled_from(["own", "own", "shared", "plain", "decode"])


@st.composite
def wants(draw: st.DrawFn) -> Want:
    """Legs of two profiles; the hand-off of one lies beside its leg, on the other device."""
    parts: list[Part] = []
    for profile in (1, 2):
        generation, peer = draw(st.integers(0, 3)), draw(PEERS)
        if draw(st.booleans()):
            parts.append(leg(profile, generation, peer, draw(KINDS)))
        if draw(st.booleans()):
            parts.append(leg(profile, generation + 1, peer, draw(st.sampled_from(["own", "decode"])), hand_off=True))
    prepared = [leg(1, draw(st.integers(0, 3)), draw(PEERS))] if draw(st.booleans()) else []
    return Want(tuple(parts), tuple(part for part in prepared if part not in parts))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Want, Verb | None, set[Key | str]]]:
    """Wishes, each with the step that fails meanwhile and the associations that are dead then."""
    found: list[tuple[Want, Verb | None, set[Key | str]]] = []
    for _ in range(draw(st.integers(1, 6))):
        want = draw(wants())
        every = [each for part in want.parts for each in (part.key, part.peer) if each is not None]
        dead = set(draw(st.lists(st.sampled_from(every), max_size=2))) if every else set()
        found.append((want, draw(st.none() | st.sampled_from(FAILING)), dead))
    return found


def desired(want: Want) -> tuple[dict[str, tuple[str, ...]], set[Key]]:
    """Kernel and charon as they shall be in the end."""
    objects: dict[str, tuple[str, ...]] = {}
    for part in want.prepared:
        objects |= part.decode
    for part in want.parts:
        objects |= {**part.decode, **part.switch}
    return objects, {part.key for part in (*want.parts, *want.prepared) if part.key is not None}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(), order=st.sampled_from(Order))
def test_any_history_ends_where_it_shall(history: list[tuple[Want, Verb | None, set[Key | str]]], order: Order) -> None:
    gateway = Gateway(order)
    for want, failing, dead in history:
        gateway.dead = dead
        gateway.converge(want, lambda verb, failing=failing: verb is failing, lambda: None)  # type: ignore[misc]
    last = history[-1][0]
    gateway.dead = set()
    assert gateway.converge(last, lambda _verb: False, lambda: None)
    objects, keys = desired(last)
    assert gateway.objects == objects
    assert gateway.loaded | gateway.up == keys
    assert not gateway.loaded & gateway.up
    assert list(gateway.force) == list(last.parts)
    assert plan(gateway.have(), last, order).empty


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_what_works_goes_on_working_until_the_new_does(
    history: list[tuple[Want, Verb | None, set[Key | str]]],
) -> None:
    gateway = Gateway(MBB)
    for want, failing, dead in history:
        gateway.dead = dead
        slots = {part.slot for part in want.parts if part.waits}
        before = {slot for slot, works in gateway.works().items() if works and slot in slots}

        def check(before: set[str] = before) -> None:
            broken = {slot for slot in before if not gateway.works().get(slot)}
            assert not broken, f"{broken} no longer get through"

        gateway.converge(want, lambda verb, failing=failing: verb is failing, check)  # type: ignore[misc]


@pytest.mark.parametrize("order", Order)
def test_loaded_is_told_after_loading_and_before_waiting(order: Order) -> None:
    found = [step.verb for step in plan(Have(), Want((leg(),)), order).steps]
    assert found.index(Verb.LOAD) < found.index(Verb.LOADED) < found.index(Verb.RAISE) < found.index(Verb.DONE)
