"""Who knows which keys: roots at home and at far ends, domain keys at AAAFs, leg keys at foreign agents (C5, C12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from roamvpn.policy.keys import domain_key, leg_key
from roamvpn.signalling.messages import NodeRole, ServiceUpdate
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import World, seconds
from roamvpn.tables.secrets import ProfileKeys, Secret, Secrets
from tests.documents import Documents
from tests.signalled import ALICE, CAROL, FRANK, TABLES, go, watched, world_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTE = ("fa21", "fa21b", "fa22", "fa21b", "fa21", "fa22")
_SLA = {str(number): {"psk": bytes([number] * 32).hex()} for number in (1, 3)}
SECRETS = Secrets.model_validate({"site_key": "5a" * 32, "sla": {"gw51": {"profiles": _SLA}}})


def _world() -> World:
    # make SLA keys visible, so that it shows where they come
    return world_of(secrets=SECRETS)


def _keys_in(what: Any) -> Iterator[bytes]:  # noqa: ANN401 - an entry, a message, a leg
    """Every secret anywhere in a tree of tuples."""
    if isinstance(what, Secret):
        yield bytes(what)
    elif isinstance(what, tuple):
        for each in what:
            yield from _keys_in(each)


class Seen(NamedTuple):
    """All keys that a node has ever held, or been sent."""

    held: dict[str, set[bytes]]

    @classmethod
    def along(cls, world: World, users: tuple[str, ...]) -> Seen:
        held: dict[str, set[bytes]] = {name: set() for name in world.nodes}
        sent = watched(world)
        for agent in ROUTE:
            for nai in users:
                world.move(nai, agent)
            for _ in range(40):
                world.run(world.now + 50_000)
                for name, node in world.nodes.items():
                    for table in node.tables.values():
                        held[name].update(_keys_in(tuple(table.values())))
                    if node.state is not None:
                        held[name].update(_keys_in(tuple(node.state.secrets.values())))
        for each in sent:
            if each.to.name in held:
                held[each.to.name].update(_keys_in(each.message))
        return cls(held)


def _roots(world: World) -> dict[tuple[str, str, str], bytes]:
    """By user, far end and kind, as the AAAH has them."""
    found = {}
    for entry in world.nodes["aaah33"].tables[NodeRole.AAAH].values():
        assert entry.information is not None
        for segment in entry.information.segments:
            if segment.keys is not None:
                found[entry.nai, segment.far, str(segment.kind)] = bytes(segment.keys.psk)
    return found


def test_no_foreign_agent_ever_holds_a_root_a_domain_key_or_a_key_of_the_enterprise() -> None:  # C12
    world = _world()
    seen = Seen.along(world, (ALICE, CAROL, FRANK))
    roots = _roots(world)
    enterprise = {key for (_, far, _), key in roots.items() if far == "gw51"}
    assert len(enterprise) == 2
    domains = {
        bytes(key.psk)
        for (_, far, _), root in roots.items()
        for domain in ("isp2", "isp2b")
        if far != "gw51" and (key := domain_key(ProfileKeys(psk=Secret(root)), domain)).psk is not None
    }
    for agent in ("fa21", "fa21b", "fa22"):
        assert seen.held[agent]
        assert not seen.held[agent] & (set(roots.values()) | domains)
    # C12: nor do those who carry messages to them, nor those at the far ends of others
    for node in ("aaaf23", "aaaf23b", "pcn41", "pcn41b"):
        assert not seen.held[node] & enterprise
    for server in ("aaaf23", "aaaf23b"):
        assert seen.held[server] & domains
        assert not seen.held[server] & set(roots.values())


def test_a_visited_domain_learns_nothing_of_another_ones_keys() -> None:
    world = _world()
    seen = Seen.along(world, (ALICE, FRANK))
    (root,) = [key for (nai, _, _), key in _roots(world).items() if nai == FRANK]
    for server, other in (("aaaf23", "isp2b"), ("aaaf23b", "isp2")):
        assert bytes(domain_key(ProfileKeys(psk=Secret(root)), other).psk or b"") not in seen.held[server]


def test_both_ends_of_every_leg_derive_the_same_key_without_having_it_sent() -> None:
    world = _world()
    sent = watched(world)
    used: set[bytes] = set()
    for generation, agent in enumerate(ROUTE):
        for nai in (ALICE, FRANK):
            go(world, nai, agent, 15)
        for nai, far in ((ALICE, "ha31"), (FRANK, "pcn41b")):
            ends = []
            for gateway, peer in ((agent, far), (far, agent)):
                state = world.nodes[gateway].state
                assert state is not None
                ends += [
                    state.secrets[name]
                    for name, leg in state.legs.items()
                    if leg.nai == nai and leg.peer == peer and not leg.hand_off
                ]
            assert len(ends) == 2
            assert ends[0] == ends[1]
            # by hand, from the root
            (root,) = [key for (user, end, _), key in _roots(world).items() if (user, end) == (nai, far)]
            domain = domain_key(ProfileKeys(psk=Secret(root)), TABLES.network.gateways[agent].domain)
            assert ends[0] == leg_key(domain, agent, far, generation)
            key = bytes(ends[0].psk or b"")
            assert key not in used
            used.add(key)
            for each in sent:
                if each.to.name == far:
                    assert key not in set(_keys_in(each.message))
    assert differences(world, settled=False) == []


def test_hand_off_keys_are_fresh_for_each_move() -> None:  # G21
    world = _world()
    found: list[bytes] = []
    of_legs: set[bytes] = set()
    for agent in ROUTE:
        go(world, FRANK, agent)
        state = world.nodes[agent].state
        assert state is not None
        found += [bytes(state.secrets[name].psk or b"") for name, leg in state.legs.items() if leg.hand_off]
        of_legs |= {bytes(state.secrets[name].psk or b"") for name, leg in state.legs.items() if not leg.hand_off}
        world.run(world.now + seconds(world.settings.hand_off + 1))
    assert len(found) == len(ROUTE) - 1
    assert len(set(found)) == len(found)
    assert len(of_legs) == len(ROUTE)
    assert not of_legs & set(found)


def test_a_pcn_that_was_left_cannot_derive_the_keys_of_its_successor() -> None:  # C5, E7
    world = _world()
    go(world, FRANK, "fa21")
    documents = Documents()
    documents.record(7)["destaddr"] = "198.51.100.7"
    world.database[FRANK] = tuple(documents.site().tables.vpn_database[FRANK])
    world.mobile(FRANK).update = ServiceUpdate()
    world.refresh(FRANK)
    world.run(world.now + seconds(1))
    old = set(_keys_in(tuple(world.nodes["pcn41b"].tables[NodeRole.PCN].values())))
    new = set(_keys_in(tuple(world.nodes["pcn41"].tables[NodeRole.PCN].values())))
    assert old
    assert new
    assert not old & new
