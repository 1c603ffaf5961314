"""Key generator: separate keys, from injected entropy (C5)."""

from __future__ import annotations

import os
from itertools import product
from typing import TYPE_CHECKING

from roamvpn.policy.compile import compile_fleet
from roamvpn.policy.keys import KeyGenerator, derived, domain_key, fingerprint, leg_key
from roamvpn.tables.types import Keying
from tests.documents import Documents

if TYPE_CHECKING:
    from roamvpn.tables.secrets import Secrets

_SITE_KEY = bytes(range(32))


def _secrets(documents: Documents) -> Secrets:
    profiles = {str(n): {"psk": f"{n:02x}" * 32} for n in (1, 3, 5)}
    documents.secrets = {
        "site_key": _SITE_KEY.hex(),
        "sla": {"gw51": {"shared": {"psk": "aa" * 32}, "profiles": profiles}},
    }
    secrets = documents.site().secrets
    assert secrets is not None
    return secrets


def test_both_ends_of_a_segment_have_its_key_and_nobody_else() -> None:
    documents = Documents()
    site = documents.site()
    fleet = compile_fleet(site.tables, site.sessions, _secrets(documents), derived(_SITE_KEY))
    owners: dict[bytes, set[frozenset[str]]] = {}
    for state in fleet.states.values():
        for name, keys in state.secrets.items():
            if name in state.legs:
                leg = state.legs[name]
                assert keys.psk is not None
                owners.setdefault(bytes(keys.psk), set()).add(frozenset((leg.flow, leg.gateway, leg.peer)))
    assert len(owners) >= 7
    assert all(len(segments) == 1 for segments in owners.values())


def test_a_shared_relationship_draws_no_key() -> None:
    site = Documents().site()
    fleet = compile_fleet(site.tables, site.sessions, None, derived(_SITE_KEY))  # S107
    for state in fleet.states.values():
        for name in state.secrets:
            assert state.legs[name].has_association


def test_static_keying_draws_a_key_for_each_direction_and_use() -> None:
    keys = KeyGenerator(lambda _purpose, length: os.urandom(length)).keys("sla", Keying.STATIC)
    four = {
        keys.up_esp_encryption,
        keys.down_esp_encryption,
        keys.up_authentication,
        keys.down_authentication,
    }
    assert len(four) == 4
    assert all(key is not None and len(key) == 32 for key in four)


def test_every_leg_has_a_key_of_its_own() -> None:
    def psk(site: bytes, session: str, domain: str, agent: str, generation: int) -> bytes | None:
        root = KeyGenerator(derived(site)).root(session, "p1", "ha31")
        return leg_key(domain_key(root, domain), agent, "ha31", generation).psk

    choices = product((b"a" * 32, b"b" * 32), "xy", ("isp2", "isp2b"), ("fa21", "fa21b"), (0, 1))
    made = [psk(*choice) for choice in choices]
    assert len(set(made)) == len(made) == 32
    assert psk(b"a" * 32, "x", "isp2", "fa21", 0) == made[0]


def test_a_hand_off_has_a_key_of_its_own_in_each_direction() -> None:  # G21
    generator = KeyGenerator(derived(_SITE_KEY))
    ends = [("fa21", "fa21b"), ("fa21b", "fa21")]
    made = [generator.hand_off("s", each, generation, "h1").psk for each in ends for generation in (1, 2)]
    assert len({*made, generator.root("s", "h1", "a").psk}) == 5


def test_entropy_is_asked_for_just_what_is_drawn() -> None:
    asked: list[tuple[str, int]] = []

    def entropy(purpose: str, length: int) -> bytes:
        asked.append((purpose, length))
        return bytes(length)

    generator = KeyGenerator(entropy)
    generator.root("s", "p1", "b")
    generator.hand_off("s", ("a", "b"), 3, "h1")
    assert asked == [("root s p1 b", 32), ("hand-off s h1 a b 3", 32)]


def test_a_secret_does_not_print() -> None:
    keys = KeyGenerator(derived(_SITE_KEY)).root("s", "p1", "b")
    assert keys.psk is not None
    assert keys.psk.hex() not in f"{keys} {keys!r} {keys.psk} {keys.psk!r} {[keys.psk]}"


def test_a_fingerprint_needs_its_key() -> None:
    assert fingerprint(b"a", b"value") != fingerprint(b"b", b"value")
    assert len(fingerprint(b"a", b"value")) == 12
