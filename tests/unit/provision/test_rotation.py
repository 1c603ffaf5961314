from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from roamvpn.provision.control import Control
from roamvpn.provision.fleet import Request, plan_fleet, stage_fleet
from roamvpn.provision.rotation import Phase, advance
from roamvpn.tables.problems import RoamvpnError
from tests.unit.provision.conftest import NOW

if TYPE_CHECKING:
    from pathlib import Path

ALL = ("fa21", "fa21b", "fa22", "gw51", "ha31", "pcn41", "pcn41b")


def _step(control: Control, phase: Phase, sla: tuple[str, ...] = ()) -> None:
    advance(control, phase, sla)
    now = Phase.NONE if phase is Phase.REMOVE else phase
    for name in stage_fleet(control, Request(ALL, phase=now)).reasons:
        control.state.arrived(name)


def _secrets(control: Control, gateway: str) -> dict[str, str]:
    found = {}
    for path in (control.state.deployed / gateway).glob("*/secrets/*.conf"):
        match = re.search(r"(ike-\S+) \{.*secret = (0x\w+)", path.read_text(), re.DOTALL)
        assert match is not None
        found[match[1]] = match[2]
    return found


@pytest.fixture
def deployed(control: Control) -> Control:
    for name in stage_fleet(control, Request(ALL)).reasons:
        control.state.arrived(name)
    return control


def test_three_steps_bring_the_new_key_beside_then_first_then_alone(deployed: Control) -> None:
    old = _secrets(deployed, "fa21")
    _step(deployed, Phase.BESIDE)
    beside = _secrets(deployed, "fa21")
    _step(deployed, Phase.SWITCH)
    switched = _secrets(deployed, "fa21")
    _step(deployed, Phase.REMOVE)
    new = _secrets(deployed, "fa21")
    name = next(iter(old))
    assert set(beside) == {*old, *(f"{each}-next" for each in old)}
    assert set(switched) == {*old, *(f"{each}-last" for each in old)}
    assert set(new) == set(old)
    assert beside[name] == old[name]
    assert switched[name] == beside[f"{name}-next"] == new[name] != old[name]
    assert switched[f"{name}-last"] == old[name]


def test_both_ends_have_the_same_keys_in_every_step(deployed: Control) -> None:
    for phase in (Phase.BESIDE, Phase.SWITCH, Phase.REMOVE):
        _step(deployed, phase)
        near, far = _secrets(deployed, "fa21"), _secrets(deployed, "ha31")
        ends = [(a, b) for a in near for b in far if a.replace("ha31", "fa21") == b]
        assert ends
        assert all(near[a] == far[b] for a, b in ends)


def test_keys_of_an_sla_change_only_where_they_are_named(deployed: Control) -> None:
    old = _secrets(deployed, "gw51")
    for phase in (Phase.BESIDE, Phase.SWITCH, Phase.REMOVE):
        _step(deployed, phase)
    assert _secrets(deployed, "gw51") == old
    for phase in (Phase.BESIDE, Phase.SWITCH, Phase.REMOVE):
        _step(deployed, phase, ("gw51",))
    new = _secrets(deployed, "gw51")
    assert set(new) == set(old)
    assert not set(new.values()) & set(old.values())


def test_the_secrets_file_is_the_new_one_from_the_second_step_on(deployed: Control, directory: Path) -> None:
    before = (directory / "secrets.yml").read_text()
    _step(deployed, Phase.BESIDE)
    assert (directory / "secrets.yml").read_text() == before
    _step(deployed, Phase.SWITCH)
    assert (directory / "secrets.yml").read_text() != before
    assert (directory / "secrets.yml").stat().st_mode & 0o777 == 0o600
    _step(deployed, Phase.REMOVE)
    assert not list(deployed.state.root.glob("secrets.*"))


def test_a_step_waits_for_every_gateway(deployed: Control) -> None:
    advance(deployed, Phase.BESIDE)
    for name in stage_fleet(deployed, Request(ALL, phase=Phase.BESIDE)).reasons:
        if name != "pcn41b":
            deployed.state.arrived(name)
    with pytest.raises(RoamvpnError, match="pcn41b: the step beside of the rotation has not come"):
        advance(deployed, Phase.SWITCH)


def test_nothing_else_is_planned_while_keys_are_rotated(deployed: Control) -> None:
    advance(deployed, Phase.BESIDE)
    with pytest.raises(RoamvpnError, match="a rotation of keys is under way"):
        plan_fleet(deployed, Request(ALL))


def test_a_rotation_goes_on_where_it_stopped(deployed: Control, directory: Path) -> None:
    _step(deployed, Phase.BESIDE)
    beside = _secrets(deployed, "fa21")
    again = Control.of(directory, NOW)
    _step(again, Phase.BESIDE)
    assert _secrets(again, "fa21") == beside


def test_an_unknown_sla_is_refused(deployed: Control) -> None:
    with pytest.raises(RoamvpnError, match="there is no SLA of 'nobody'"):
        advance(deployed, Phase.BESIDE, ("nobody",))
    plan_fleet(deployed, Request(ALL))
