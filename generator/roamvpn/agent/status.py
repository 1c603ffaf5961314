"""What an agent is doing, for an operator's glance and for machines: one JSON object, and a page of it.

Nothing secret stands in it: sessions, peers, generations, times, alarms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from roamvpn.signalling.messages import NodeRole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from roamvpn.daemon.runtime import Runtime
    from roamvpn.policy.legs import Contribution

MAX_SESSIONS = 2_000
"""More are counted, not listed."""


def status(runtime: Runtime, now: int, applier: dict[str, object]) -> dict[str, object]:
    """The whole status. `now` in milliseconds; `applier` is what the gateway's side says of itself."""
    node = runtime.node
    rows = [row for role, table in node.tables.items() for entry in table.values() for row in _rows(role, entry, now)]
    rows.sort(key=lambda row: (row["nai"], row["role"], row["state"]))
    return {
        "node": node.name,
        "roles": sorted(str(role) for role in node.machines),
        "entries": {str(role): len(table) for role, table in sorted(node.tables.items())},
        "sessions": rows[:MAX_SESSIONS],
        "not_listed": max(len(rows) - MAX_SESSIONS, 0),
        "queue": runtime.waiting,
        "gateway": applier,
        "alarms": [{"at": raised.at, "nai": raised.nai, "text": raised.text} for raised in runtime.alarms],
    }


def _rows(role: NodeRole, entry: Any, now: int) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - an entry of that role
    if role is NodeRole.FA:
        yield from _visitor(entry, now)
    elif getattr(entry, "information", None) is not None:
        state = "holds" if role is NodeRole.PCN else "bound"
        if role is NodeRole.HA and (entry.deferred is not None or entry.posts):
            state = "waits for acknowledgements"
        yield _row(role, entry, entry.information, state, entry.expires - now, entry.legs)


def _visitor(entry: Any, now: int) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a Visitor
    if entry.serving is not None:
        yield _row(NodeRole.FA, entry, entry.serving, "served", entry.expires - now, entry.legs)
    registration = entry.registration
    if registration is not None:
        state = f"registering, waits for {registration.stage}"
        yield _row(NodeRole.FA, entry, registration.fresh, state, registration.deadline - now, registration.prepared)
    if entry.outgoing is not None:
        left = entry.outgoing.until - now
        state = f"handed off to {entry.outgoing.new_fa}"
        yield _row(NodeRole.FA, entry, entry.outgoing.information, state, left, entry.outgoing.legs)
    for each in entry.incoming:
        state = f"handed off from {each.old_fa}" if each.again_at is None else f"{each.old_fa} is to be told"
        yield _row(NodeRole.FA, entry, each.information, state, each.until - now, each.legs)


def _row(  # noqa: PLR0913, PLR0917 - the columns
    role: NodeRole,
    entry: Any,  # noqa: ANN401 - of any role
    information: Any,  # noqa: ANN401 - VpnInformation, or none
    state: str,
    left: int,
    legs: tuple[Contribution, ...],
) -> dict[str, Any]:
    return {
        "nai": entry.nai,
        "role": str(role),
        "state": state,
        "session": information.session_id if information is not None else None,
        "generation": information.generation if information is not None else None,
        "foreign_agent": information.foreign_agent if information is not None else None,
        "seq": entry.seq,
        "expires_in_s": max(left // 1000, 0),
        "vpns": [
            {"peer": each.leg.peer, "security": str(each.leg.security), "share": str(each.leg.share),
             "device": each.leg.device, "to": each.leg.destination}
            for each in legs
            if each.leg is not None
        ],
    }  # fmt: skip


def show(found: dict[str, Any], console: Console) -> None:
    """For people: what is wrong first, then who is served."""
    head = Text(f"{found['node']}  {', '.join(found['roles'])}", style="bold")
    counts = ", ".join(f"{count} at the {role}" for role, count in found["entries"].items())
    console.print(head, Text(f"entries: {counts}; {found['queue']} events wait"))
    gateway = found["gateway"]
    console.print(Text("gateway: " + ", ".join(f"{key} {value}" for key, value in sorted(gateway.items()))))
    for alarm in found["alarms"][-5:]:
        console.print(Text(f"alarm: {alarm['nai']} {alarm['text']}".replace("  ", " "), style="bold red"))
    table = Table("user", "role", "state", "at", "gen", "ends in", "VPNs", box=None, pad_edge=False)
    for row in found["sessions"]:
        vpns = ", ".join(f"{vpn['to']} by {vpn['peer']} ({vpn['share']} {vpn['security']})" for vpn in row["vpns"])
        table.add_row(
            Text(row["nai"]), row["role"], row["state"], row["foreign_agent"] or "",
            "" if row["generation"] is None else str(row["generation"]), f"{row['expires_in_s']} s", vpns or "none",
        )  # fmt: skip
    if found["sessions"]:
        console.print(table)
    else:
        console.print(Text("nobody is registered"))
    if found["not_listed"]:
        console.print(Text(f"and {found['not_listed']} more"))
