"""`moves.yml`: what users do and what goes wrong, on a team's own network, before a change window."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

from pydantic import Field, PlainValidator, ValidationError, WithJsonSchema, model_validator

from roamvpn.policy.keys import derived
from roamvpn.signalling.directory import Directory
from roamvpn.signalling.effects import Order
from roamvpn.signalling.settings import Settings
from roamvpn.sim.mobile import SECOND
from roamvpn.sim.options import Options
from roamvpn.sim.oracle import differences
from roamvpn.sim.trace import Trace
from roamvpn.sim.world import World
from roamvpn.tables.base import Frozen
from roamvpn.tables.problems import InputError
from roamvpn.tables.records import NO_CLASS, VpnRecord
from roamvpn.tables.source import Source
from roamvpn.tables.types import Nai, Name, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from roamvpn.sim.mobile import Mobile
    from roamvpn.tables.problems import Problem
    from roamvpn.tables.secrets import Secrets
    from roamvpn.tables.source import Path
    from roamvpn.tables.tables import Tables

_TIME = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|m)?\Z")
_UNITS = {"ms": SECOND // 1000, "s": SECOND, "m": 60 * SECOND, None: SECOND}
_LATENCY = 5
"""Milliseconds of each link, unless the script says otherwise."""


def parse_time(value: object) -> int:
    """A time such as `12`, `1.5s`, `250ms` or `2m`, in microseconds."""
    match = _TIME.match(str(value)) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    if match is None:
        raise ValueError("must be a time such as 12, 1.5s, 250ms or 2m")
    return round(float(match[1]) * _UNITS[match[2]])


Time = Annotated[
    int,
    PlainValidator(parse_time),
    WithJsonSchema({"type": ["integer", "string"], "pattern": _TIME.pattern[:-2] + "$"}),
]
_USER = ("appear", "move", "refresh", "deregister", "vanish", "service_update")
_NODE = ("crash", "cut", "database_down")


class Move(Frozen):
    """One line: a time, and what a `user` does, or what goes wrong (`crash`, `cut`, `database_down`) `lasts` how long.

    `appear` and `move` name a foreign agent; a terminal that moves within a domain names its old one.
    `service_update` gives the user's records from then on.
    """

    at: Time
    user: Nai | None = None
    appear: Name | None = None
    move: Name | None = None
    refresh: bool = False
    deregister: bool = False
    vanish: bool = False
    service_update: tuple[VpnRecord, ...] | None = None
    crash: Name | None = None
    cut: tuple[Name, Name] | None = None
    database_down: bool = False
    lasts: Time | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        done = [name for name in (*_USER, *_NODE) if getattr(self, name) not in (None, False)]
        if len(done) != 1:
            raise ValueError(f"does one thing: {', '.join((*_USER, *_NODE))}")
        if (self.user is not None) is not (done[0] in _USER):
            raise ValueError("needs a user" if done[0] in _USER else "is about a node, not a user")
        if (self.lasts is not None) is not (done[0] in _NODE):
            raise ValueError("needs lasts, how long" if done[0] in _NODE else "takes no time: lasts is for faults")
        return self

    @property
    def what(self) -> str:
        """The one thing."""
        return next(name for name in (*_USER, *_NODE) if getattr(self, name) not in (None, False))

    def __str__(self) -> str:
        """`alice moves to fa21b`."""
        who = (self.user or "").partition("@")[0]
        return {
            "appear": f"{who} appears at {self.appear}",
            "move": f"{who} moves to {self.move}",
            "refresh": f"{who} refreshes",
            "deregister": f"{who} signs off",
            "vanish": f"{who} is switched off",
            "service_update": f"{who} changes his VPNs",
            "crash": f"{self.crash} crashes",
            "cut": f"no link between {' and '.join(self.cut or ())}",
            "database_down": "the VPN database cannot be reached",
        }[self.what]


class Script(Frozen):
    """All of `moves.yml`. The sessions of the site's `sessions.yml` are registered before it begins."""

    moves: tuple[Move, ...]
    latency: Time = _LATENCY * (SECOND // 1000)
    lifetime: Annotated[int, Field(strict=True, ge=10, le=65534)] = 1800

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.moves:
            raise ValueError("moves has no line")
        return self


def load_script(name: str, text: str, tables: Tables) -> Script:
    """The checked script; raises InputError with all problems."""
    source = Source(name, text)
    try:
        script = Script.model_validate(source.parse())
    except ValidationError as error:
        raise InputError(source.problems(error)) from None
    problems = list(_problems(source, script, tables))
    if problems:
        raise InputError(problems)
    return script


def _problems(source: Source, script: Script, tables: Tables) -> Iterator[Problem]:
    gateways, servers = tables.network.gateways, tables.network.aaa_servers
    nodes = {name for name, gateway in gateways.items() if Role.STATIC not in gateway.roles} | set(servers)
    directory = Directory(tables.network)
    before = 0
    for index, move in enumerate(script.moves):
        path = ("moves", index)
        if move.at < before:
            yield source.problem((*path, "at"), f"{move.at / SECOND:g} s", "is earlier than the line before")
        before = move.at
        if move.user is not None and move.user not in tables.subscribers:
            yield source.problem((*path, "user"), move.user, "is not a subscriber")
        elif move.user is not None and directory.aaah_of(move.user) is None:
            message = "has a realm that no AAA server of role home serves (network.yml, aaa_servers)"
            yield source.problem((*path, "user"), move.user, message)
        for field in ("appear", "move"):
            agent = getattr(move, field)
            if agent is not None and not directory.is_foreign_agent(agent):
                yield source.problem((*path, field), agent, "is not a foreign agent")
        for field, names in (("crash", (move.crash,) if move.crash else ()), ("cut", move.cut or ())):
            for node in names:
                if node not in nodes:
                    yield source.problem((*path, field), node, "is not a node that signalling reaches")
        yield from _records(source, (*path, "service_update"), move, tables)


def _records(source: Source, path: Path, move: Move, tables: Tables) -> Iterator[Problem]:
    for number, record in enumerate(move.service_update or ()):
        if record.nai != move.user:
            yield source.problem((*path, number, "nai"), record.nai, "is not the user of this line")
        for field in ("upclass", "downclass"):
            service = getattr(record, field)
            if service not in (None, NO_CLASS) and service not in tables.network.classes:
                yield source.problem((*path, number, field), service, "is not a service class of this network")


class Answered(NamedTuple):
    """What a line of the script came to: how long the user waited, in ms, or None without an answer."""

    at: float
    text: str
    waited: float | None
    attempts: int
    gateways: tuple[str, ...]


class Rehearsal(NamedTuple):
    """A script as it went."""

    world: World
    trace: Trace
    answers: list[Answered]
    alarms: list[tuple[float, str, str]]
    differences: list[str]


def rehearse(
    tables: Tables,
    script: Script,
    at: dict[str, str],
    order: Order = Order.MAKE_BEFORE_BREAK,
    secrets: Secrets | None = None,
) -> Rehearsal:
    """Play a script; `at` says at which foreign agent users are when it begins. Deterministic."""
    settings = Settings(order=order, max_lifetime=script.lifetime)
    options = Options(settings=settings, latency=script.latency, lifetime=script.lifetime, durable=True)
    entropy = derived(bytes(secrets.site_key) if secrets is not None else bytes(32))
    world = World(tables, entropy, options, secrets=secrets)
    trace = Trace(world, on=False, users={move.user for move in script.moves if move.user is not None})
    for nai, agent in sorted(at.items()):
        world.register(nai, agent)
    world.run(20 * SECOND)
    trace.on = True
    trace.restart()
    world.alarms.clear()
    start, waits = world.now, _Waits(world)
    for move in script.moves:
        world.at(start + move.at, waits.doing(move, start))
    ends = [move.at + (move.lasts or 0) for move in script.moves]
    world.run(start + max(ends))
    patience = settings.request_timeout + settings.retry_last + settings.hand_off
    world.run(world.now + patience * SECOND)
    alarms = [((time - start) / 1000, node, f"{alarm.nai}: {alarm.text}") for time, node, alarm in world.alarms]
    return Rehearsal(world, trace, waits.found(trace), alarms, differences(world, settled=False))


class _Waits:
    """Does the script's lines, and notes when users are answered."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rows: list[tuple[float, Move]] = []
        self._answers: dict[int, tuple[float, int]] = {}
        self._last: dict[str, int] = {}
        world.answered = self._answered

    def doing(self, move: Move, start: int) -> Callable[[], None]:
        def do() -> None:
            world, user = self._world, move.user
            self._rows.append(((world.now - start) / 1000, move))
            if user is not None:
                self._last[user] = len(self._rows) - 1
            _act(world, move)

        return do

    def _answered(self, mobile: Mobile, _reply: Any) -> None:  # noqa: ANN401
        if not mobile.waiting:
            row = self._last.pop(mobile.nai, None)
            if row is not None:
                waited = (self._world.now - mobile.first_asked_at) / 1000
                self._answers[row] = (waited, mobile.attempts)

    def found(self, trace: Trace) -> list[Answered]:
        rows = []
        for index, (at, move) in enumerate(self._rows):
            # what happens to the user until he does something else
            later = (then for then, other in self._rows[index + 1 :] if other.user == move.user)
            end = next(later, float("inf"))
            changes = (line for line in trace.lines if line.kind == "change" and line.user == move.user)
            touched = {line.who for line in changes if at <= line.at < end}
            waited, attempts = self._answers.get(index, (None, 0))
            rows.append(Answered(at, str(move), waited, attempts, tuple(sorted(touched))))
        return rows


def _act(world: World, move: Move) -> None:
    user, lasts = move.user or "", move.lasts or 0
    if move.appear is not None:
        world.register(user, move.appear)
    elif move.move is not None:
        world.move(user, move.move)
    elif move.refresh:
        world.refresh(user)
    elif move.deregister:
        world.deregister(user)
    elif move.vanish:
        world.vanish(user)
    elif move.service_update is not None:
        world.customise(user, move.service_update)
    elif move.crash is not None:
        name = move.crash
        world.crash(name)
        world.at(world.now + lasts, lambda: world.restart(name))
    elif move.cut is not None:
        link = frozenset(move.cut)
        world.cut.add(link)
        world.at(world.now + lasts, lambda: world.cut.discard(link))
    else:
        world.database_up = False
        world.at(world.now + lasts, lambda: setattr(world, "database_up", True))
