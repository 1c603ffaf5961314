"""From contributions to vici messages and lines: the renderer's bytes, and what tells associations apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from roamvpn.agent.material import LegMaterial, Workshop
from roamvpn.gateway import units
from roamvpn.policy.compile import Compiler
from roamvpn.policy.keys import derived
from roamvpn.render.artefacts import Renderer
from roamvpn.stores.templates import templates
from roamvpn.tables.gateway_state import GatewayState
from roamvpn.tables.records import Session
from tests.documents import Documents

if TYPE_CHECKING:
    from roamvpn.policy.legs import Contribution

TABLES = Documents().site().tables
COMPILER = Compiler(TABLES, None, derived(b"k" * 32))
RENDERER = Renderer(TABLES.network, templates())
ALICE = "alice@isp3.example"


def contribution(generation: int, at: str, *, old: str | None = None) -> Contribution:
    session = Session(session_id="s-1", nai=ALICE, foreign_agent="fa21", generation=generation)
    every = COMPILER.hand_off(session, old, "fa21") if old is not None else COMPILER.session(session)[0]
    return next(each for each in every if each.gateway == at)


def material(each: Contribution) -> LegMaterial:
    assert each.leg is not None
    return Workshop(each.gateway, TABLES.network, RENDERER, Path("/nowhere")).leg(each.leg, each.keys, None)


def test_lines_and_messages_are_those_of_a_provisioned_generation() -> None:
    each = contribution(0, "fa21")
    assert each.leg is not None
    assert each.keys is not None
    state = GatewayState("fa21", legs={each.leg.name: each.leg}, secrets={each.leg.name: each.keys})
    wanted = units.Wanted()
    for path, artefact in RENDERER.artefacts(state).items():
        if artefact.unit is not None:
            units.parse(RENDERER.text(state, artefact), path, path.split("/")[1], wanted)
    made = material(each)
    lines = [line for part in (made.part.decode, made.part.switch) for lines in part.values() for line in lines]
    assert lines == [command.line for command in wanted.legs]
    assert made.association is not None
    assert made.association.connection["remote_addrs"] == ["192.0.2.31"]
    assert made.association.secret is not None
    assert each.keys.psk is not None
    assert made.association.secret["data"] == each.keys.psk


def test_successors_take_the_same_place_by_another_association() -> None:
    one, two = material(contribution(0, "fa21")).part, material(contribution(1, "fa21")).part
    assert one.slot == two.slot
    assert one.key is not None
    assert two.key is not None
    assert one.key.name == two.key.name
    assert one.key.digest != two.key.digest
    assert one.key.mark != two.key.mark


def test_the_near_end_of_a_hand_off_only_decodes() -> None:
    # G21
    near, far = (material(contribution(1, at, old="fa21b")).part for at in ("fa21", "fa21b"))
    assert not near.waits
    assert far.waits
    assert near.hand_off
    assert far.hand_off


def test_the_end_towards_an_enterprise_is_known_as_such() -> None:
    session = Session(session_id="s-1", nai=ALICE, foreign_agent="fa21", generation=0)
    found = {m.leg.peer: m.static for m in map(material, COMPILER.session(session)[0]) if m.leg.gateway == "ha31"}
    assert found == {"fa21": False, "gw51": True}


def test_an_association_does_not_print_its_key() -> None:
    each = contribution(0, "fa21")
    assert repr(material(each).association) == f"Association({each.leg.name})" if each.leg is not None else None
