"""What others tell in their own words, as events: FreeRADIUS accounting, Kea's leases, strongSwan's vici events.

Pure functions. The same input gives the same event, byte for byte, so that what is sent again is a duplicate.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.agent.events import MAX_BYTES, Event, EventSource, EventType, event_of, identification
from roamvpn.tables.problems import InputError, Problem, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_STATUS = {
    **dict.fromkeys(("start", "1"), EventType.REGISTER),
    **dict.fromkeys(("interim-update", "alive", "3"), EventType.REFRESH),
    **dict.fromkeys(("stop", "2"), EventType.DEREGISTER),
}
"""Acct-Status-Type (RFC 2866 section 5.1) by name or number. Accounting-On and -Off are about no user."""
_NUMBER = re.compile(r"[0-9]{1,10}\Z")
_DATE = re.compile(r"([A-Z][a-z]{2}) {1,2}([0-9]{1,2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([A-Z0-9+-]{2,6})\Z")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LEASES = {
    "committed": EventType.REGISTER,
    "release": EventType.DEREGISTER,
    "expire": EventType.DEREGISTER,
    "decline": EventType.DEREGISTER,
}
"""What happens to a lease. To renew it is to commit it again, and to register again is to refresh."""
_RANKS = {EventType.DEREGISTER: 0, EventType.REGISTER: 1, EventType.REFRESH: 2}
"""Within one second the old session ends before the new one begins."""


class Here(NamedTuple):
    """What an adapter must know of this gateway. `nai_of` finds a user by his home address.

    `lifetime` in seconds is granted where the source names none: two or three of its interim intervals.
    """

    gateway: str
    nai_of: Callable[[str], str | None]
    lifetime: int = 1800
    max_age: int = 1800
    """How old an event may be: as long as the longest registration, after which it would say nothing any more."""
    max_skew: int = 60
    """How far a source's clock may be ahead of ours."""


def from_radius(raw: bytes, here: Here) -> Event:
    """An accounting request as rlm_rest posts it: User-Name is the NAI, Framed-IP-Address the home address.

    `{"User-Name": {"type": "string", "value": ["alice@isp3.example"]}, …}`; a plain value does as well. Attributes
    that are not named here are left aside. Raises InputError.
    """
    packet = {name.lower(): _first(value) for name, value in _object(raw, "radius").items()}
    kind = _STATUS.get(packet.get("acct-status-type", "").lower())
    at = _seconds(packet.get("event-timestamp", ""))
    session = packet.get("acct-session-id", "")
    problems = []
    if kind is None:
        problems.append(_problem("radius", "Acct-Status-Type", packet, "is not Start, Interim-Update or Stop"))
    if at is None:
        problems.append(_problem("radius", "Event-Timestamp", packet, "is needed, as FreeRADIUS's preprocess sets it"))
    if not session:
        problems.append(_problem("radius", "Acct-Session-Id", packet, "is needed"))
    if kind is None or at is None or problems:
        raise InputError(problems)
    rank = _RANKS[kind]
    if kind is EventType.DEREGISTER and packet.get("acct-session-time") == "0":
        # it ended in the second in which it began
        rank = 3
    told = [session, kind.value, str(at), *(packet.get(name, "") for name in ("user-name", "framed-ip-address"))]
    fields = {
        "event_id": _event_id("radius", told),
        "type": kind,
        "nai": packet.get("user-name"),
        "home_addr": packet.get("framed-ip-address"),
        # access servers count sessions each for itself
        "session_id": _digest([session, packet.get("nas-identifier", ""), packet.get("nas-ip-address", "")]),
        "seq": identification(at, rank),
        "observed_at": at,
        "source": EventSource.RADIUS,
        "evidence": _evidence({"nas": packet.get("nas-identifier") or packet.get("nas-ip-address")}),
    }
    return _completed(fields, kind, here)


def from_kea(raw: bytes, here: Here) -> Event:
    """What `kea-run-script` posts of one lease; the user is the one whose home address was leased.

    `{"hook": "committed", "address": …, "hwaddr": …, "client_id": …, "lifetime_s": …, "at": …}`, `at` in nanoseconds of
    Unix time. Raises InputError.
    """
    lease = {name: _first(value) for name, value in _object(raw, "kea").items()}
    kind = _LEASES.get(lease.get("hook", ""))
    at, address = lease.get("at", ""), lease.get("address", "")
    nai = here.nai_of(address)
    problems = []
    if kind is None:
        problems.append(_problem("kea", "hook", lease, f"is not one of {', '.join(_LEASES)}"))
    if not re.fullmatch(r"[0-9]{10,19}", at):
        problems.append(_problem("kea", "at", lease, "is needed, in nanoseconds"))
    if nai is None:
        problems.append(_problem("kea", "address", lease, "is nobody's home address"))
    if kind is None or problems:
        raise InputError(problems)
    seconds, nanoseconds = divmod(int(at), 10**9)
    client = lease.get("client_id") or lease.get("hwaddr") or ""
    lifetime = lease.get("lifetime_s", "")
    fields = {
        "event_id": _event_id("kea", [kind.value, at, address, client]),
        "type": kind,
        "nai": nai,
        "home_addr": address,
        "session_id": _digest([client]) if client else None,
        "seq": identification(seconds, (nanoseconds << 32) // 10**9),
        "observed_at": seconds,
        "source": EventSource.KEA,
        "evidence": _evidence({"hwaddr": lease.get("hwaddr"), "client_id": lease.get("client_id")}),
    }
    # a lease may last longer than any registration
    granted = min(int(lifetime), 0xFFFF) if _NUMBER.match(lifetime) and int(lifetime) else here.lifetime
    return _completed(fields, kind, here._replace(lifetime=granted))


def from_vici(message: Mapping[str, object], connections: frozenset[str], at: int, here: Here) -> list[Event]:
    """A `child-updown` event of charon (vici README, "Events"), `at` nanoseconds of Unix time.

    Of the remote-access connections named only: there the peer is the user, by the identity that he proved, and his
    first virtual address is the home address. Raises InputError.
    """
    up = _word(message.get("up")) == "yes"
    kind = EventType.REGISTER if up else EventType.DEREGISTER
    seconds, nanoseconds = divmod(at, 10**9)
    found = []
    for name, sa in message.items():
        if name not in connections or not isinstance(sa, dict):
            continue
        addresses = sa.get("remote-vips")
        identity = next(
            (_word(sa[key]) for key in ("remote-eap-id", "remote-xauth-id", "remote-id") if sa.get(key)), ""
        )
        unique = _word(sa.get("uniqueid"))
        fields = {
            "event_id": _event_id("vici", [name, unique, kind.value, str(at)]),
            "type": kind,
            "nai": identity,
            "home_addr": _word(addresses[0]) if isinstance(addresses, list) and addresses else "",
            "session_id": _digest([name, unique]),
            "seq": identification(seconds, (nanoseconds << 32) // 10**9),
            "observed_at": seconds,
            "source": EventSource.VICI,
            "evidence": _evidence({"connection": name, "remote_host": _word(sa.get("remote-host"))}),
        }
        found.append(_completed(fields, kind, here))
    return found


def _completed(fields: Mapping[str, object], kind: EventType, here: Here) -> Event:
    lifetime = 0 if kind is EventType.DEREGISTER else here.lifetime
    return event_of({"v": 1, "agent": here.gateway, "access_gw": here.gateway, "lifetime_s": lifetime, **fields})


def _seconds(text: str) -> int | None:
    """Unix seconds from a date as FreeRADIUS prints it: in the zone of this machine, on which it runs too."""
    if _NUMBER.match(text):
        return int(text)
    match = _DATE.match(text)
    if match is None or match[1] not in _MONTHS:
        return None
    day, year, hour, minute, second = map(int, match.group(2, 3, 4, 5, 6))
    parts = (year, _MONTHS.index(match[1]) + 1, day, hour, minute, second, 0, 0)
    try:
        if match[7] in {"UTC", "GMT"}:
            return calendar.timegm((*parts, 0))
        return int(time.mktime((*parts, time.tzname.index(match[7]))))
    except (OverflowError, ValueError):
        # no such zone here, or no such day anywhere
        return None


def _object(raw: bytes, source: str) -> dict[str, object]:
    if len(raw) > MAX_BYTES:
        raise InputError([Problem(source, 0, "", "", f"is larger than {MAX_BYTES} bytes")])
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise InputError([Problem(source, 0, "", "", "is no JSON")]) from None
    if not isinstance(found, dict):
        raise InputError([Problem(source, 0, "", shown(found), "must be a JSON object")])
    return found


def _first(value: object) -> str:
    """The text of an attribute; of several the first, as its kind forbids more than one."""
    if isinstance(value, dict):
        value = value.get("value", "")
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _word(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _problem(source: str, field: str, given: Mapping[str, str], message: str) -> Problem:
    value = given.get(field, given.get(field.lower(), ""))
    return Problem(source, 0, field, shown(value) if value else "", message)


def _evidence(remarks: Mapping[str, str | None]) -> dict[str, str] | None:
    """Remarks that stand in logs: those that are printable and short, which is all of the honest ones."""
    kept = {key: text for key, text in remarks.items() if text and re.fullmatch(r"[ -~]{1,253}", text)}
    return kept or None


def _event_id(source: str, told: list[str]) -> str:
    return f"{source}-{_digest(told)}"


def _digest(told: list[str]) -> str:
    """Of texts that may hold anything; lengths go in, so that no two lists look alike."""
    return blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()
