"""Steady states of E1 and E4 on real packets: all gateways configured by the generated files alone."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab import testkernel
from tests.lab.site import bundles
from tests.lab.vpns import ALONE, ASPECTS, VPNS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab
Results = dict[str, dict[str, str]]
_STATIC = [vpn for vpn in VPNS if vpn.path[-1] == "gw51"]


def _results(work: Path, *, static_keys: bool) -> Results:
    rendered = bundles(work, static_keys=static_keys)
    # the python of this environment, by the directory that both kernels see
    argv = ["env", "PYTHONPATH=.:generator", sys.executable, "-m", "tests.lab.guest.scenario", str(rendered)]
    out = work / "out"
    said = testkernel.find().run(out, *argv, *(["static"] if static_keys else []), seconds=240)
    sys.stdout.write(said)
    found: Results = json.loads((out / "results.json").read_text())
    return found


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return _results(tmp_path_factory.mktemp("managed"), static_keys=False)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return _results(tmp_path_factory.mktemp("static"), static_keys=True)


# A8, A9, D3, D4, D14 to D16, E1.6, E4.4, F5, F6, F9, G10, G19
@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("vpn", [vpn.name for vpn in VPNS])
def test_steady_state(managed: Results, vpn: str, aspect: str) -> None:
    assert managed[vpn][aspect] == ""


# F1, fail closed
@pytest.mark.parametrize("aspect", ALONE)
def test_network_as_a_whole(managed: Results, aspect: str) -> None:
    assert managed["alone"][aspect] == ""


# keying: static towards the enterprise: the same steady state of E1, with the SLA's SPIs on the wire
@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("vpn", [vpn.name for vpn in _STATIC])
def test_steady_state_with_keys_set_by_hand(by_hand: Results, vpn: str, aspect: str) -> None:
    assert by_hand[vpn][aspect] == ""
