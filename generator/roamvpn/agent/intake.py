"""What becomes of a request to the hook: read, judged, spooled, counted, answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from roamvpn.agent.adapters import from_kea, from_radius
from roamvpn.agent.events import MAX_BYTES, Place, parse_event, refusals
from roamvpn.agent.spool_file import Outcome
from roamvpn.tables.problems import InputError, Problem, RoamvpnError
from roamvpn.tables.types import Word

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Counter

    from roamvpn.agent.adapters import Here
    from roamvpn.agent.events import Event
    from roamvpn.agent.spool import Spool

_SHOWN_PROBLEMS = 50
_ADVICE = {
    Outcome.STALE: ("seq", "something newer of this user is known here"),
    Outcome.REJECTED: ("event_id", "another event came under this name"),
    Outcome.FULL: ("", "there is no room for more events now, try again later"),
}


class Form(Word):
    """How an event is worded: our own, or that of another program, which is translated here."""

    EVENTS = "events"
    RADIUS = "radius"
    KEA = "kea"


class Standing(NamedTuple):
    """What the gateway runs now: its generation and the digest of its plan."""

    generation: int = 0
    digest: str = ""


class Reply(NamedTuple):
    """The answer to one event. `problems` are sentences, each with field and value."""

    status: int
    outcome: Outcome
    standing: Standing
    problems: tuple[str, ...] = ()

    @property
    def result(self) -> str:
        """`accepted`, `duplicate`, `stale` or `rejected`."""
        return Outcome.REJECTED if self.outcome is Outcome.FULL else self.outcome

    @property
    def settled(self) -> bool:
        """Whether it is of no use to send the event again."""
        return self.outcome is not Outcome.FULL


_STATUS = {
    Outcome.ACCEPTED: 202,
    Outcome.DUPLICATE: 200,
    Outcome.STALE: 409,
    Outcome.REJECTED: 409,
    Outcome.FULL: 503,
}


class Intake:
    """One for all ways in. `clock` gives Unix seconds; `received` counts, by the labels `form` and `result`."""

    def __init__(
        self,
        spool: Spool,
        here: Here,
        clock: Callable[[], float],
        *,
        standing: Callable[[], Standing] = Standing,
        received: Counter | None = None,
    ) -> None:
        self._spool = spool
        self._here = here
        self._clock = clock
        self._standing = standing
        self._received = received
        self._log = structlog.get_logger().bind(gateway=here.gateway)

    async def take(self, form: Form, raw: bytes) -> Reply:
        """One event in one of the forms. Never raises: what is wrong stands in reply, log and counter."""
        event: Event | None = None
        try:
            event = self._read(form, raw)
            if self._spool.busy:
                reply = self._reply(Outcome.FULL, status=429, told=("too many events at once",))
            else:
                reply = self._reply(await self._spool.offer(event))
        except InputError as error:
            reply = self._reply(Outcome.REJECTED, status=422, told=_told(error.problems))
        except RoamvpnError:
            # the spool has logged why
            reply = self._reply(Outcome.FULL)
        return self._reported(form, event, reply)

    def too_large(self, form: Form) -> Reply:
        """The answer to a body that was not read to its end."""
        told = (f"event: is larger than {MAX_BYTES} bytes",)
        return self._reported(form, None, self._reply(Outcome.REJECTED, status=413, told=told))

    def _read(self, form: Form, raw: bytes) -> Event:
        if form is Form.RADIUS:
            event = from_radius(raw, self._here)
        elif form is Form.KEA:
            event = from_kea(raw, self._here)
        else:
            event = parse_event(raw)
        here = self._here
        refused = refusals(event, Place(here.gateway, int(self._clock()), here.max_age, here.max_skew))
        if refused:
            raise InputError(refused)
        return event

    def _reply(self, outcome: Outcome, *, status: int | None = None, told: tuple[str, ...] = ()) -> Reply:
        if not told and outcome in _ADVICE:
            field, message = _ADVICE[outcome]
            told = (str(Problem("event", 0, field, "", message)),)
        return Reply(status or _STATUS[outcome], outcome, self._standing(), told)

    def _reported(self, form: Form, event: Event | None, reply: Reply) -> Reply:
        if self._received is not None:
            self._received.labels(form=form, result=_word(reply)).inc()
        told: dict[str, object] = {"form": str(form), "result": _word(reply)}
        if event is not None:
            told |= {"event_id": event.event_id, "type": str(event.type), "nai": event.nai, "evidence": event.evidence}
        if reply.outcome in {Outcome.ACCEPTED, Outcome.DUPLICATE}:
            self._log.info("event", **told)
        else:
            self._log.warning("event refused", **told, problems=list(reply.problems))
        return reply


def _word(reply: Reply) -> str:
    """The result for logs and counters, which also tell a busy hook from a full one."""
    if reply.outcome is Outcome.FULL:
        return "busy" if reply.status == 429 else "full"
    return reply.outcome


def _told(problems: tuple[Problem, ...]) -> tuple[str, ...]:
    told = tuple(str(problem) for problem in problems[:_SHOWN_PROBLEMS])
    more = len(problems) - len(told)
    return (*told, f"and {more} more") if more else told
