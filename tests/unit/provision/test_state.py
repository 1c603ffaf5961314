from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from roamvpn.provision.fleet import Request, stage_fleet
from roamvpn.provision.state import State
from roamvpn.stores.bundles import pack
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.provision.control import Control


def test_nothing_is_known_of_a_gateway_before_it_was_asked(tmp_path: Path) -> None:
    assert State(tmp_path).record("fa21") is None


def test_a_bare_gateway_is_known_to_be_bare(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.learnt("fa21", None)
    record = state.record("fa21")
    assert record is not None
    assert record.generation is None


def test_directories_and_records_are_closed(control: Control) -> None:
    assert control.state.root.stat().st_mode & 0o777 == 0o700
    assert (control.state.root / "records/fa21.json").stat().st_mode & 0o777 == 0o600


def test_what_arrived_is_what_the_next_plan_compares_with(control: Control) -> None:
    stage_fleet(control, Request(("fa21",)))
    control.state.arrived("fa21")
    plan = stage_fleet(control, Request(("fa21",)))
    assert plan.reasons == {"fa21": ["certificate"]}


def test_a_record_that_does_not_fit_its_files_counts_for_nothing(control: Control) -> None:
    stage_fleet(control, Request(("fa21",)))
    control.state.arrived("fa21")
    control.state.forget("ha31")
    (control.state.deployed / "fa21").rename(control.state.deployed / "ha31")
    assert control.state.record("fa21") is None
    assert control.state.record("ha31") is None


def test_a_fetched_bundle_is_what_runs(control: Control) -> None:
    stage_fleet(control, Request(("fa21",)))
    control.state.learnt("fa21", pack(control.state.staged / "fa21"))
    record = control.state.record("fa21")
    manifest = control.state.manifest("fa21")
    assert record is not None
    assert manifest is not None
    assert record.generation == manifest.digest
    secret = next((control.state.deployed / "fa21").glob("*/secrets/*.conf"))
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.parent.stat().st_mode & 0o777 == 0o700


def test_the_bundle_of_another_gateway_is_refused(control: Control) -> None:
    stage_fleet(control, Request(("fa21",)))
    with pytest.raises(RoamvpnError, match="ha31: this host runs the configuration of fa21"):
        control.state.learnt("ha31", pack(control.state.staged / "fa21"))


@pytest.mark.parametrize("bundle", [b"", b"nonsense", b"\x1f\x8b\x08"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, bundle: bytes) -> None:
    with pytest.raises(RoamvpnError, match="not a bundle"):
        State(tmp_path).learnt("fa21", bundle)


def test_a_second_run_is_refused_while_the_first_one_lives(tmp_path: Path) -> None:
    state = State(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        state.claim(other.pid, "somebody@elsewhere", ())
        state.claim(other.pid, "somebody@elsewhere", ("fa21",))
        with pytest.raises(RoamvpnError, match="somebody@elsewhere is changing this site"):
            state.claim(1, "me", ())
        other.communicate(b"\n")
    state.claim(1, "me", ())
    run = state.run()
    assert run is not None
    assert run.holder == "me"


def test_a_doubted_gateway_is_asked_again_and_keeps_its_certificate(control: Control) -> None:
    control.state.keep("fa21", serial="1f")
    control.state.doubt("fa21")
    assert control.state.record("fa21") is None
    control.state.learnt("fa21", None)
    record = control.state.record("fa21")
    assert record is not None
    assert record.serial == "1f"


def test_a_bare_machine_in_a_gateways_place_has_no_certificate(control: Control) -> None:
    control.state.keep("fa21", serial="1f")
    control.state.learnt("fa21", None, bare=True)
    record = control.state.record("fa21")
    assert record is not None
    assert record.serial is None
    assert record.base is None
