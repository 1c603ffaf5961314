"""The oracle (F9): what every node holds against the central compile of (tables, current sessions).

Who is where comes from the home agents' bindings, which VPNs he has from what the VPN database answered, all else from
the compile that provisions fleets. Terminals, which know where they were served, are asked as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from roamvpn.policy.compile import add
from roamvpn.signalling.messages import NodeRole
from roamvpn.tables.gateway_state import GatewayState
from roamvpn.tables.records import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.policy.information import VpnInformation
    from roamvpn.sim.world import World
    from roamvpn.tables.records import VpnRecord


class Known(NamedTuple):
    """A current session, with the records that it was made from."""

    session: Session
    records: tuple[VpnRecord, ...]
    information: VpnInformation


def sessions(world: World) -> dict[str, Known]:
    """The current sessions, by user."""
    found = {}
    for name, node in world.nodes.items():
        for binding in node.tables.get(NodeRole.HA, {}).values():
            information = binding.information
            if information is not None:
                found[information.nai] = _known(world, information)
                if world.tables.subscribers[information.nai].home_agent != name:
                    raise AssertionError(f"{name} holds a binding of {information.nai}, who is another's")
    return found


def _known(world: World, information: VpnInformation) -> Known:
    session = Session(
        session_id=information.session_id,
        nai=information.nai,
        foreign_agent=information.foreign_agent,
        generation=information.generation,
    )
    return Known(session, world.searched[information.nai, information.version], information)


def expected(world: World, current: dict[str, Known], *, settled: bool) -> dict[str, GatewayState]:
    """What each gateway must run. Until things have `settled`, hand-off tunnels and lapsing PCNs as well (F9)."""
    compiler = world.compiler
    states = {name: GatewayState(name) for name in world.tables.network.gateways}
    for contribution in compiler.provisioned():
        add(states[contribution.gateway], contribution)
    for known in current.values():
        for contribution in compiler.session(known.session, known.records)[0]:
            add(states[contribution.gateway], contribution)
    if not settled:
        for name, node in world.nodes.items():
            for visitor in node.tables.get(NodeRole.FA, {}).values():
                _hand_offs(world, states[name], visitor)
            for entry in node.tables.get(NodeRole.PCN, {}).values():
                if entry.information is not None and not _posted(current, entry, name):
                    _lapsing(world, states[name], entry)
    return states


def _hand_offs(world: World, state: GatewayState, visitor: Any) -> None:  # noqa: ANN401 - a Visitor
    """The hand-off tunnels that a foreign agent says it has, as the compile makes them."""
    here, outgoing = state.gateway, visitor.outgoing
    if outgoing is not None:
        _hand_off(world, state, outgoing.information, here, outgoing.new_fa)
    for incoming in visitor.incoming:
        if incoming.information is not None:
            _hand_off(world, state, incoming.information, incoming.old_fa, here)


def _lapsing(world: World, state: GatewayState, entry: Any) -> None:  # noqa: ANN401 - a PcnEntry
    """A VPN that a service update took from its PCN, to the end of its lifetime (E7.5)."""
    known = _known(world, entry.information)
    records = [each for each in known.records if each.profile_number == entry.profile_number]
    for contribution in world.compiler.session(known.session, records)[0]:
        leg = contribution.leg
        if contribution.gateway == state.gateway and leg is not None and leg.direction == "down":
            add(state, contribution)


def _hand_off(world: World, state: GatewayState, information: VpnInformation, old: str, new: str) -> None:
    known = _known(world, information)
    for contribution in world.compiler.hand_off(known.session, old, new, known.records):
        if contribution.gateway == state.gateway:
            add(state, contribution)


def _posted(current: dict[str, Known], entry: Any, pcn: str) -> bool:  # noqa: ANN401 - a PcnEntry
    known = current.get(entry.nai)
    return known is not None and any(
        each.profile_number == entry.profile_number and each.far == pcn and not each.empty
        for each in known.information.dynamic
    )


def differences(world: World, *, settled: bool) -> list[str]:
    """Everything that is not as it must be, a sentence each; empty where the invariant holds."""
    current = sessions(world)
    states = expected(world, current, settled=settled)
    found: list[str] = []
    for name, state in states.items():
        actual = world.nodes[name].state
        assert actual is not None  # noqa: S101 - it is a gateway
        for what in ("legs", "peers", "references", "secrets"):
            found += _compared(f"{name}: {what}", getattr(actual, what), getattr(state, what))
    found += _keys(states)
    found += _mobiles(world, current)
    for name, node in world.nodes.items():
        for role, table in node.tables.items():
            for key, entry in table.items():
                found += (
                    f"{name} ({role}): {key}: {text}" for text in _CHECKS[role](world, name, entry, current, settled)
                )
    return found


def _compared(what: str, actual: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    if actual == wanted:
        return
    for key in sorted(actual.keys() | wanted.keys()):
        if key not in wanted:
            yield f"{what}: {key} is there and must not be"
        elif key not in actual:
            yield f"{what}: {key} is missing"
        elif actual[key] != wanted[key]:
            yield f"{what}: {key} is {_short(actual[key], wanted[key])}"


def _short(actual: Any, wanted: Any) -> str:  # noqa: ANN401
    if isinstance(actual, tuple) and hasattr(actual, "_fields"):
        pairs = zip(actual._fields, actual, wanted, strict=True)
        return ", ".join(f"{name} {a!r}, not {w!r}" for name, a, w in pairs if a != w)
    return f"{actual!r}, not {wanted!r}"


def _keys(states: dict[str, GatewayState]) -> Iterator[str]:
    """No key is of two users, or of two tunnels (C5)."""
    owners: dict[bytes, tuple[str, frozenset[str]]] = {}
    for state in states.values():
        for name, keys in state.secrets.items():
            leg = state.legs.get(name)
            if leg is None or keys.psk is None:
                continue
            owner = (leg.flow, frozenset((leg.gateway, leg.peer)))
            if owners.setdefault(bytes(keys.psk), owner) != owner:
                yield f"{leg.flow}: its key is that of {owners[bytes(keys.psk)][0]}"


def _mobiles(world: World, current: dict[str, Known]) -> Iterator[str]:
    for nai, mobile in world.mobiles.items():
        known = current.get(nai)
        if mobile.served_at is not None and not mobile.waiting:
            if known is None:
                yield f"{nai} was served at {mobile.served_at} and has no session"
            elif known.session.foreign_agent != mobile.served_at:
                yield f"{nai} was served at {mobile.served_at}, his session is at {known.session.foreign_agent}"
            elif known.information.version < mobile.updated_seq:
                yield f"{nai} was told of his other VPNs, and the session has the old ones"
        if mobile.gone and known is not None:
            yield f"{nai} signed off, and has a session"


def _fa(world: World, name: str, entry: Any, current: dict[str, Known], settled: bool) -> Iterator[str]:  # noqa: ANN401, FBT001
    known = current.get(entry.nai)
    here = known is not None and known.session.foreign_agent == name
    if (entry.serving is not None) != here:
        yield "is served and must not be" if entry.serving is not None else "is not served"
    yield from _unpaired(world, name, entry)
    if here and entry.outgoing is not None:
        yield f"is served here, and still handed off to {entry.outgoing.new_fa}"
    if entry.registration is not None:
        yield f"a registration still waits for {entry.registration.stage}"
    if settled and (entry.outgoing is not None or entry.incoming):
        yield "a hand-off tunnel still stands"
    if any(each.again_at is not None for each in entry.incoming):
        yield "an old foreign agent has not answered"


_SOON = 1500


def _unpaired(world: World, name: str, entry: Any) -> Iterator[str]:  # noqa: ANN401 - a Visitor
    """A hand-off tunnel has two halves, unless it ends any moment, or its user has gone since."""
    soon = world.now // 1000 + _SOON
    outgoing = entry.outgoing
    if outgoing is not None and outgoing.until > soon:
        there = world.nodes[outgoing.new_fa].tables[NodeRole.FA].get(entry.nai)
        if there is not None and there.serving is not None and name not in {each.old_fa for each in there.incoming}:
            yield f"the hand-off to {outgoing.new_fa} has no other half"
    # where the user has gone on since, or has come back from elsewhere, halves of earlier registrations lapse
    current = entry.seq if entry.serving is not None else -1
    for incoming in entry.incoming:
        if incoming.seq == current and incoming.again_at is None and incoming.until > soon:
            there = world.nodes[incoming.old_fa].tables[NodeRole.FA].get(entry.nai)
            if there is None or there.outgoing is None or there.outgoing.new_fa != name:
                yield f"the hand-off from {incoming.old_fa} has no other half"


def _ha(world: World, name: str, entry: Any, current: dict[str, Known], settled: bool) -> Iterator[str]:  # noqa: ANN401, ARG001, FBT001
    if entry.deferred is not None or entry.posts:
        yield "a binding update is not acknowledged"


def _pcn(world: World, name: str, entry: Any, current: dict[str, Known], settled: bool) -> Iterator[str]:  # noqa: ANN401, FBT001
    if entry.information is None or _posted(current, entry, name):
        return
    if settled:
        yield "a VPN that nobody wants still stands"
    mobile = world.mobiles.get(entry.nai)
    latest = max((version for nai, version in world.searched if nai == entry.nai), default=0)
    if mobile is not None and mobile.gone and entry.information.version == latest and entry.seq in mobile.accepted:
        # F10; only a PCN that the user had left before may wait for the end of its lifetime (F9)
        yield "its user has signed off"


def _aaah(world: World, name: str, entry: Any, current: dict[str, Known], settled: bool) -> Iterator[str]:  # noqa: ANN401, ARG001, FBT001
    known, cached = current.get(entry.nai), entry.information
    if entry.pending is not None:
        yield "a registration still waits for the home agent"
    if known is None:
        if settled and cached is not None:
            yield "the cache holds a session that has ended"
        return
    if cached is None:
        yield "the cache lacks the session"
        return
    compiler, network = world.compiler, world.tables.network.gateways
    # moves within a domain pass by the AAAH; where an answer to it was lost, so may one between domains
    if not world.lost and network[cached.foreign_agent].domain != network[known.session.foreign_agent].domain:
        yield f"the cache has {cached.foreign_agent}, of another domain than {known.session.foreign_agent}"
    there = known.session.model_copy(update={"foreign_agent": cached.foreign_agent})
    wanted = compiler.information(there, known.records)[0]
    if (cached.session_id, cached.segments) != (wanted.session_id, wanted.segments):
        yield "the cache has other VPNs than the session"


def _aaaf(world: World, name: str, entry: Any, current: dict[str, Known], settled: bool) -> Iterator[str]:  # noqa: ANN401, ARG001, FBT001
    known, cached = current.get(entry.nai), entry.information
    if known is None or known.session.foreign_agent != cached.foreign_agent:
        if settled:
            yield "a stale cache has not aged out"
        return
    domain = world.tables.network.gateways[cached.foreign_agent].domain
    wanted = world.compiler.information(known.session, known.records)[0].for_foreign_agent().in_domain(domain)
    if (cached.session_id, cached.generation, cached.segments) != (
        wanted.session_id,
        wanted.generation,
        wanted.segments,
    ):
        yield "the cache has other VPNs than the session"


_CHECKS = {NodeRole.FA: _fa, NodeRole.HA: _ha, NodeRole.PCN: _pcn, NodeRole.AAAH: _aaah, NodeRole.AAAF: _aaaf}


def require(world: World, *, settled: bool) -> None:
    """Raise AssertionError with all differences, if there are any."""
    found = differences(world, settled=settled)
    if found:
        raise AssertionError("\n".join(found))
