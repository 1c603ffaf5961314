"""A node: its machines' tables, its gateway state, its timers. Still without I/O; a shell carries the effects out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roamvpn.policy.compile import add, remove
from roamvpn.signalling.effects import Apply, Store, Wake
from roamvpn.signalling.messages import Bu, Timer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.machine import Machine
    from roamvpn.signalling.messages import Event, NodeRole
    from roamvpn.tables.gateway_state import GatewayState


# half the time of a named tuple's own constructor, for what nearly every event asks for
_new = tuple.__new__


class Node:
    """One gateway or AAA server. An event costs what its user's entry costs, however many there are."""

    __slots__ = ("_roles", "machines", "name", "state", "tables")

    def __init__(self, name: str, machines: Iterable[Machine[Any]], state: GatewayState | None = None) -> None:
        """`state` is what is provisioned at the gateway, to which users' legs are added; None for an AAA server."""
        self.name = name
        self.machines = {machine.role: machine for machine in machines}
        self.state = state
        self.tables: dict[NodeRole, dict[str, Any]] = {role: {} for role in self.machines}
        self._roles: dict[NodeRole, tuple[Machine[Any], dict[str, Any], dict[str, int]]] = {
            role: (machine, self.tables[role], {}) for role, machine in self.machines.items()
        }

    def receive(self, role: NodeRole, event: Event, now: int) -> list[Effect]:
        """One event for one role. What must be kept comes first among the effects, before anything is sent."""
        machine, table, armed = self._roles[role]
        # the first field of every event says whom it is about
        key: str = event[0]
        if type(event) is Timer:
            armed.pop(key, None)
        elif machine.by_profile and type(event) is Bu:
            key = f"{key} {event.profile_number}"
        before = table.get(key)
        entry, effects = machine.handle(before, event, now)
        if entry is not before:
            if entry is None:
                table.pop(key, None)
            else:
                table[key] = entry
            if machine.durable:
                effects.insert(0, _new(Store, (role, key, entry)))
        for effect in effects:
            if type(effect) is Apply:
                self._apply(effect)
        if entry is not None:
            # a timer that rings early finds nothing to do and is armed again, so a refresh need not move it
            deadline = machine.deadline(entry)
            at = armed.get(key)
            if deadline is not None and (at is None or deadline < at):
                armed[key] = deadline
                effects.append(_new(Wake, (role, key, deadline)))
        return effects

    def restore(self, role: NodeRole, entries: Iterable[tuple[str, Any]]) -> list[Effect]:
        """After a restart: entries read back from the store; their legs are set again, and their timers."""
        machine, table, armed = self._roles[role]
        effects: list[Effect] = []
        for key, stored in entries:
            entry = table[key] = machine.restored(stored)
            if self.state is not None:
                for contribution in machine.contributions(entry):
                    add(self.state, contribution)
            deadline = machine.deadline(entry)
            if deadline is not None:
                armed[key] = deadline
                effects.append(Wake(role, key, deadline))
        return effects

    def _apply(self, apply: Apply) -> None:
        state = self.state
        assert state is not None  # noqa: S101 - an AAA server applies nothing
        for contribution in apply.set:
            add(state, contribution)
        for contribution in apply.delete:
            remove(state, contribution)
