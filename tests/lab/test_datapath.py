"""Steady states of E1 and E4 on real packets: all gateways configured by the playbooks."""

from __future__ import annotations

import pytest

from tests.lab.vpns import ALONE, ASPECTS, VPNS

pytestmark = pytest.mark.lab
Results = dict[str, dict[str, str]]
_STATIC = [vpn for vpn in VPNS if vpn.path[-1] == "gw51"]


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
