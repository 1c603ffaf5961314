"""A registration event: what the world tells this gateway about one of its users, and nothing more.

No keys, SPIs, classes, destinations or commands: what a user gets is decided by the tables alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from roamvpn.signalling.messages import RegReq, ServiceUpdate
from roamvpn.tables.base import Frozen
from roamvpn.tables.problems import InputError, Problem, shown
from roamvpn.tables.types import Address, Nai, Name, Word

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 16 * 1024
"""The largest event, in bytes of JSON."""
_NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 5905 section 6)."""


class EventType(Word):
    """What happened."""

    REGISTER = "register"
    REFRESH = "refresh"
    DEREGISTER = "deregister"
    SERVICE_UPDATE = "service_update"


class EventSource(Word):
    """Who noticed."""

    MIP = "mip"
    RADIUS = "radius"
    KEA = "kea"
    VICI = "vici"
    SMF = "smf"
    MANUAL = "manual"


OBSERVERS = frozenset({EventSource.RADIUS, EventSource.KEA, EventSource.VICI, EventSource.SMF})
"""Sources that see a user come and go at one gateway. That he is gone altogether only he, or an operator, can say."""

_PRINTABLE = r"^[ -~]+$"
EventId = Annotated[str, StringConstraints(strict=True, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+=-]*$")]
SessionId = Annotated[str, StringConstraints(strict=True, max_length=253, pattern=_PRINTABLE)]
Key = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Remark = Annotated[str, StringConstraints(strict=True, max_length=253, pattern=_PRINTABLE)]


class Event(Frozen):
    """One event, version 1. Times are Unix seconds, `lifetime_s` seconds as on the wire of Mobile IP.

    `seq` orders a user's events wherever they come from; it becomes the identification of the registration (RFC 5944
    section 5.7), so sources that have none make it of the time: see `identification`.
    """

    # no Literal: true is equal to 1
    v: Annotated[int, Field(strict=True, ge=1, le=1)]
    event_id: EventId
    type: EventType
    agent: Name
    nai: Nai
    session_id: SessionId | None = None
    home_addr: Address
    access_gw: Name
    prev_gw: Name | None = None
    seq: Annotated[int, Field(strict=True, ge=1, lt=2**64)]
    observed_at: Annotated[int, Field(strict=True, ge=0, lt=2**32)]
    lifetime_s: Annotated[int, Field(strict=True, ge=0, le=0xFFFF)]
    source: EventSource
    evidence: Annotated[dict[Key, Remark], Field(max_length=16)] | None = None

    def encoded(self) -> bytes:
        """One line of JSON; equal events have equal bytes."""
        return self.model_dump_json(exclude_none=True).encode()


_EVENT = TypeAdapter(Event)


class Place(NamedTuple):
    """Where and when an event is judged: at this gateway, now (Unix seconds), so old or so far ahead at most."""

    gateway: str
    now: int
    max_age: int = 1800
    max_skew: int = 60


def parse_event(raw: bytes | str) -> Event:
    """The event from its JSON; raises InputError with every field that does not hold, and its value."""
    if len(raw) > MAX_BYTES:
        raise InputError([_problem("", "", f"is larger than {MAX_BYTES} bytes")])
    try:
        return _EVENT.validate_json(raw)
    except ValidationError as error:
        raise InputError(_found(error)) from None


def event_of(fields: dict[str, object]) -> Event:
    """The same from values that an adapter has put together."""
    try:
        return _EVENT.validate_python(fields)
    except ValidationError as error:
        raise InputError(_found(error)) from None


def refusals(event: Event, place: Place) -> list[Problem]:
    """Why this gateway does not believe a well-formed event: an agent speaks for itself only, and of now."""
    found = [
        _problem(field, shown(value), f"this is {place.gateway}, which speaks for itself only")
        for field, value in (("agent", event.agent), ("access_gw", event.access_gw))
        if value != place.gateway
    ]
    ends = event.type is EventType.DEREGISTER
    if ends != (event.lifetime_s == 0):
        message = "must be 0 where somebody leaves" if ends else "is 0, which is for deregister only"
        found.append(_problem("lifetime_s", str(event.lifetime_s), message))
    if event.observed_at > place.now + place.max_skew:
        ahead = event.observed_at - place.now
        found.append(
            _problem("observed_at", str(event.observed_at), f"is {ahead} s ahead of the clock here ({place.now})")
        )
    if event.observed_at < place.now - place.max_age:
        late = place.now - event.observed_at
        found.append(_problem("observed_at", str(event.observed_at), f"is {late} s old, allowed are {place.max_age}"))
    return found


def request_of(
    event: Event, home_agent: Callable[[str], str | None], serving: Callable[[str], bool], *, answered: int = 0
) -> RegReq | None:
    """What the event asks of the foreign agent's machine; None where there is nothing to ask.

    `home_agent` gives a user's, `serving` tells whether this gateway serves him. Who sees a user leave one gateway does
    not see that he came to another first: his goodbye counts only where he still is. A user without a home agent is
    the AAA server's to refuse; the request names none.
    """
    ends = event.type is EventType.DEREGISTER
    if ends and event.source in OBSERVERS and not serving(event.nai):
        return None
    return RegReq(
        event.nai,
        event.seq,
        home_agent(event.nai) or "",
        0 if ends else event.lifetime_s,
        old_fa=None if ends else event.prev_gw,
        update=ServiceUpdate() if event.type is EventType.SERVICE_UPDATE else None,
        answered=answered,
    )


def identification(seconds: int, fraction: int = 0) -> int:
    """A `seq` made of the time, as NTP64 (RFC 5944 section 5.7.1): Unix seconds, and 32 bits of a second; to 2036."""
    return (seconds + _NTP_EPOCH) << 32 | fraction & 0xFFFFFFFF


def _found(error: ValidationError) -> list[Problem]:
    found = []
    for item in error.errors(include_url=False, include_context=False):
        field = ".".join(shown(step)[1:-1] if isinstance(step, str) else str(step) for step in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        silent = item["type"] in {"missing", "json_invalid"} or isinstance(item["input"], dict)
        found.append(_problem(field, "" if silent else shown(item["input"]), message))
    return found


def _problem(field: str, value: str, message: str) -> Problem:
    return Problem("event", 0, field, value, message)
