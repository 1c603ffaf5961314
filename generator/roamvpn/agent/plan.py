"""What is to be done at a gateway for one user, in which order: decided from what stands and what shall stand.

A plan is a list of steps that is worked off from the front. Nothing here waits or fails: whoever carries it out notes
what he did in a new `Have` and, when something went otherwise, asks for another plan. So every way to the goal, after
a failure, a kill or a newer wish, is the same function.

Source: design.md section 5 (order of a change); items D14, D16, F5, G23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.effects import Order
from roamvpn.tables.types import Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Key(NamedTuple):
    """One association of a user's own: connection name, digest of connection and secret, interface id.

    Successive generations of a leg may share the name; the digest tells them apart.
    """

    name: str
    digest: str
    mark: int


class Part(NamedTuple):
    """What one leg asks of this gateway.

    `decode` and `switch` are lines for `ip` and `tc` by the object that they make: those of the inbound half, which
    only add, and the filters, which send packets another way. A part without `switch` only decodes.
    `key` is its own association, `peer` the shared one that it leans on. Parts of one `slot` replace each other.
    """

    name: str
    slot: str
    profile: int
    hand_off: bool
    key: Key | None
    peer: str | None
    decode: Mapping[str, tuple[str, ...]]
    switch: Mapping[str, tuple[str, ...]]

    @property
    def waits(self) -> bool:
        """Whether packets are sent by it, so that its association must be up before they are switched."""
        return bool(self.switch)


class Want(NamedTuple):
    """What shall stand: parts as a whole, and parts of which only the inbound half is asked for yet."""

    parts: tuple[Part, ...] = ()
    prepared: tuple[Part, ...] = ()


class Have(NamedTuple):
    """What stands, as far as is known.

    `force`: parts that carry packets. `objects`: the lines that made each kernel object; an object that may or may not
    be there has none. `loaded`: in charon as connection and secret. `up`: with an SA. `peers`: shared ones ready.
    """

    force: tuple[Part, ...] = ()
    objects: Mapping[str, tuple[str, ...]] = {}
    loaded: frozenset[Key] = frozenset()
    up: frozenset[Key] = frozenset()
    peers: frozenset[str] = frozenset()


class Verb(Word):
    """What is done in a step."""

    BUILD = "build"
    """Shared peers: device, rule, route, connection."""
    LOAD = "load"
    """Secrets and connections into charon."""
    DECODE = "decode"
    """Objects of inbound halves, and filters where there was none: until the SA is up they drop (fail closed)."""
    LOADED = "loaded"
    """Both ends may be brought up now."""
    RAISE = "raise"
    """Initiate, or wait for the other end to."""
    SWITCH = "switch"
    """Filters, the old ones replaced in place."""
    DONE = "done"
    """Packets take the new way."""
    UNLOAD = "unload"
    """Connections and secrets of what is up: SAs live on without."""
    CLEAR = "clear"
    """Objects that nobody wants."""
    RETIRE = "retire"
    """Associations that nobody wants: out of charon, their SAs closed once they have drained."""
    RELEASE = "release"
    """Shared peers that this user no longer leans on."""


class Step(NamedTuple):
    """One step: what it is about are associations, kernel objects or shared peers."""

    verb: Verb
    keys: tuple[Key, ...] = ()
    objects: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()


class Plan(NamedTuple):
    """Steps, the lines of every object that they set, and the parts that are in force at their end."""

    steps: tuple[Step, ...]
    lines: Mapping[str, tuple[str, ...]]
    force: tuple[Part, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        return all(step.verb in (Verb.LOADED, Verb.DONE) for step in self.steps)


def plan(have: Have, want: Want, order: Order, stuck: frozenset[Key | str] = frozenset()) -> Plan:
    """The steps from what stands to what shall stand.

    `stuck` are associations, and shared peers by name, that do not come up: the profiles that wait for them stay as
    they are, with all that carries them now, and the others go on.
    """
    force = _target(have, want, stuck)
    lines = _objects(want, force)
    steps = (_patent if order is Order.PATENT else _make_before_break)(have, want, _Goal(force, lines, stuck))
    return Plan(tuple(step for step in steps if _worth(step)), lines, force)


class _Goal(NamedTuple):
    force: tuple[Part, ...]
    lines: Mapping[str, tuple[str, ...]]
    stuck: frozenset[Key | str]


def waiting(have: Have, part: Part) -> bool:
    """Whether a part's association is still to come up before its filters may be set."""
    own = part.key is not None and part.key not in have.up
    return part.waits and (own or (part.peer is not None and part.peer not in have.peers))


def _target(have: Have, want: Want, stuck: frozenset[Key | str]) -> tuple[Part, ...]:
    """The parts in force at the end: a profile of which something new is stuck stays with what it has."""
    held = {
        part.profile
        for part in want.parts
        if part not in have.force and part.waits and (part.key in stuck or part.peer in stuck)
    }
    kept = [part for part in have.force if part.profile in held]
    new = [part for part in want.parts if part.profile not in held]
    return (*kept, *new)


def _objects(want: Want, force: tuple[Part, ...]) -> dict[str, tuple[str, ...]]:
    """Every object that shall be there, with its lines; of two parts the later one decides.

    What is held back decodes already, and what must not leave in clear is caught.
    """
    found: dict[str, tuple[str, ...]] = {}
    slots = {part.slot for part in force}
    for part in (*want.prepared, *want.parts):
        found.update(part.decode)
        if part in want.parts and part.slot not in slots and not part.hand_off:
            found.update(part.switch)
    for part in force:
        found.update(part.decode)
        found.update(part.switch)
    return found


def _make_before_break(have: Have, want: Want, goal: _Goal) -> Iterator[Step]:
    taken = {part.slot for part in have.force}
    early: dict[str, None] = {}
    for part in (*want.prepared, *want.parts):
        guards = part in want.parts and part.slot not in taken and not part.hand_off
        early.update(dict.fromkeys((*part.decode, *part.switch) if guards else part.decode))
    yield from _loading(have, want)
    absent = tuple(name for name in early if not have.objects.get(name))
    yield Step(Verb.DECODE, objects=absent)
    yield Step(Verb.LOADED)
    raised = _raising(have, want, goal.stuck)
    yield raised
    yield Step(Verb.SWITCH, objects=tuple(name for name in _differing(have, goal.lines) if name not in absent))
    yield Step(Verb.DONE)
    yield _unloading(have, want, goal.force, raised)
    yield from _removal(have, want, goal)


def _patent(have: Have, want: Want, goal: _Goal) -> Iterator[Step]:
    """S223, S226: the old rows go first. S225: marking, then the tunnel. Decode comes last."""
    yield from _removal(have, want, goal)
    yield from _loading(have, want)
    yield Step(Verb.LOADED)
    marking = {name for part in (*want.parts, *goal.force) for name in part.switch}
    differing = _differing(have, goal.lines)
    yield Step(Verb.SWITCH, objects=tuple(name for name in differing if name in marking))
    raised = _raising(have, want, goal.stuck)
    yield raised
    yield Step(Verb.DECODE, objects=tuple(name for name in differing if name not in marking))
    yield Step(Verb.DONE)
    yield _unloading(have, want, goal.force, raised)


def _loading(have: Have, want: Want) -> Iterator[Step]:
    parts = (*want.parts, *want.prepared)
    peers = dict.fromkeys(part.peer for part in parts if part.peer is not None and part.peer not in have.peers)
    keys = dict.fromkeys(part.key for part in parts if part.key is not None)
    yield Step(Verb.BUILD, peers=tuple(peers))
    yield Step(Verb.LOAD, keys=tuple(key for key in keys if key not in have.up and key not in have.loaded))


def _raising(have: Have, want: Want, stuck: frozenset[Key | str]) -> Step:
    parts = [part for part in want.parts if waiting(have, part)]
    keys = dict.fromkeys(part.key for part in parts if part.key is not None and part.key not in have.up)
    peers = dict.fromkeys(part.peer for part in parts if part.peer is not None and part.peer not in have.peers)
    return Step(
        Verb.RAISE,
        keys=tuple(key for key in keys if key not in stuck),
        peers=tuple(peer for peer in peers if peer not in stuck),
    )


def _unloading(have: Have, want: Want, force: tuple[Part, ...], raised: Step) -> Step:
    up = (have.loaded & have.up & _wanted(want, force)) | set(raised.keys)
    return Step(Verb.UNLOAD, keys=tuple(sorted(up)))


def _differing(have: Have, lines: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for name, wanted in lines.items() if have.objects.get(name) != wanted)


def _removal(have: Have, want: Want, goal: _Goal) -> Iterator[Step]:
    wanted = _wanted(want, goal.force)
    leant = {part.peer for part in (*want.parts, *want.prepared, *goal.force)}
    yield Step(Verb.CLEAR, objects=tuple(name for name in have.objects if name not in goal.lines))
    yield Step(Verb.RETIRE, keys=tuple(sorted((have.up | have.loaded) - wanted)))
    yield Step(Verb.RELEASE, peers=tuple(sorted({part.peer for part in have.force if part.peer is not None} - leant)))


def _wanted(want: Want, force: Iterable[Part]) -> frozenset[Key]:
    return frozenset(part.key for part in (*want.parts, *want.prepared, *force) if part.key is not None)


def _worth(step: Step) -> bool:
    return step.verb in (Verb.LOADED, Verb.DONE) or bool(step.keys or step.objects or step.peers)
