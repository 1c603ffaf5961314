from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roamvpn.engine import open_site
from roamvpn.plan.compare import compare
from roamvpn.plan.sides import Nothing
from roamvpn.provision.control import Control
from roamvpn.provision.fleet import Request, plan_fleet, stage_fleet
from roamvpn.tables.problems import RoamvpnError
from tests.unit.provision.conftest import NOW

if TYPE_CHECKING:
    from pathlib import Path

ALL = ("fa21", "fa21b", "fa22", "gw51", "ha31", "pcn41", "pcn41b")


def _deploy(control: Control, names: tuple[str, ...] = ALL) -> None:
    stage_fleet(control, Request(names))
    for name in names:
        control.state.arrived(name)


def _edit(directory: Path, name: str, old: str, new: str) -> Control:
    path = directory / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return Control.of(directory, NOW)


def test_on_bare_gateways_everything_is_new(control: Control) -> None:
    plan = plan_fleet(control, Request(ALL))
    assert list(plan.reasons) == list(ALL)
    assert plan.new == list(ALL)
    assert plan.reasons["fa21"] == ["certificate", "configuration"]


def test_the_digest_is_the_one_of_the_command_line(control: Control, directory: Path) -> None:
    assert plan_fleet(control, Request(ALL)).report.digest == compare(Nothing(), open_site(directory).side).digest


def test_a_deployed_site_does_not_change(control: Control) -> None:
    _deploy(control)
    plan = plan_fleet(control, Request(ALL))
    assert not plan.report.changed
    assert {reason for reasons in plan.reasons.values() for reason in reasons} == {"certificate"}


def test_a_change_names_the_gateways_that_it_touches(control: Control, directory: Path) -> None:
    _deploy(control)
    changed = _edit(directory, "vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    plan = plan_fleet(changed, Request(ALL))
    assert [entry.gateway for entry in plan.report.gateways] == ["fa21", "gw51", "ha31"]


def test_only_what_is_asked_for_is_planned(control: Control) -> None:
    assert list(plan_fleet(control, Request(("gw51",))).reasons) == ["gw51"]


def test_everything_names_gateways_that_do_not_change(control: Control) -> None:
    _deploy(control)
    plan = plan_fleet(control, Request(ALL, everything=True))
    assert all("asked for" in reasons for reasons in plan.reasons.values())


def test_another_digest_is_refused_and_the_new_diff_is_shown_masked(control: Control, directory: Path) -> None:
    _deploy(control)
    digest = plan_fleet(control, Request(ALL)).report.digest
    assert plan_fleet(control, Request(ALL, digest=digest)).report.digest == digest
    changed = _edit(directory, "vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    with pytest.raises(RoamvpnError, match=f"asked for was {digest}") as caught:
        plan_fleet(changed, Request(ALL, digest=digest))
    assert "+++ b/fa21/session/legs/rv-p9-" in str(caught.value)
    secret = control.site.secrets
    assert secret is not None
    assert bytes(secret.site_key).hex() not in str(caught.value)


def test_staged_files_of_what_stays_are_the_deployed_ones(control: Control, directory: Path) -> None:
    _deploy(control)
    changed = _edit(directory, "vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    stage_fleet(changed, Request(ALL))
    for name in ("base/links.ip", "base/qos.tc"):
        ours, theirs = (changed.state.root / where / "fa21" / name for where in ("staged", "deployed"))
        assert ours.samefile(theirs)


def test_each_staged_gateway_has_its_own_masked_diff(control: Control) -> None:
    stage_fleet(control, Request(ALL))
    text = (control.state.staged / "fa21.diff").read_text()
    assert "+++ b/fa21/session/secrets/" in text
    assert "secret = <secret " in text
    assert "b/ha31/" not in text


def test_a_gateway_that_left_the_network_is_named(control: Control, directory: Path) -> None:
    _deploy(control)
    (control.state.deployed / "fa21").rename(control.state.deployed / "fa99")
    manifest = control.state.deployed / "fa99/manifest.json"
    manifest.write_text(manifest.read_text().replace('"fa21"', '"fa99"'))
    control.state.forget("fa21")
    control.state.learnt("fa21", None)
    assert any(line.startswith("fa99: has configuration") for line in plan_fleet(control, Request(ALL)).lines)
    assert directory.exists()


def test_peers_of_a_new_gateway_set_up_their_associations_again(control: Control) -> None:
    _deploy(control)
    control.state.learnt("ha31", None)
    plan = plan_fleet(control, Request(ALL))
    assert plan.new == ["ha31"]
    assert plan.again == ["fa21", "fa21b", "fa22"]


def test_without_secrets_nothing_is_planned(directory: Path) -> None:
    (directory / "secrets.yml").unlink()
    with pytest.raises(RoamvpnError, match=r"no secrets\.yml"):
        plan_fleet(Control.of(directory, NOW), Request(ALL))


def test_an_unknown_gateway_is_refused(directory: Path) -> None:
    with pytest.raises(RoamvpnError, match="fa21: it is not known what it runs"):
        plan_fleet(Control.of(directory, NOW), Request(("fa21",)))


def test_what_waited_for_another_gateway_is_set_up_in_the_next_run(control: Control) -> None:
    _deploy(control)
    control.state.keep("fa21", waiting=True)
    plan = plan_fleet(control, Request(ALL))
    assert plan.again == ["fa21"]
    assert "fa21 sets up what waited for other gateways" in plan.lines
