"""Path determination (Fig 13)."""

from __future__ import annotations

import pytest

from roamvpn.policy.paths import DEFAULT_SPI, Rejected, VpnPath, determine_path
from roamvpn.tables.types import GwType
from tests.documents import Documents


def _path(number: int, agent: str = "fa21", documents: Documents | None = None) -> VpnPath | Rejected:
    tables = (documents or Documents()).site().tables
    record = next(record for record in tables.records if record.profile_number == number)
    return determine_path(tables, record, agent)


def test_a_static_destination_gives_two_vpns_anchored_at_the_home_agent() -> None:
    path = _path(1)  # C8, F6, G2
    assert isinstance(path, VpnPath)
    ends = [(profile.source_gw, profile.destination_gw) for profile in path.profiles]
    assert path.gateways == ("fa21", "ha31", "gw51")
    assert ends == [("fa21", "ha31"), ("ha31", "fa21"), ("ha31", "gw51"), ("gw51", "ha31")]
    types = {(p.source_gw, p.destination_gw): p.destination_gw_type for p in path.profiles}
    assert types["ha31", "gw51"] is GwType.STATIC
    assert types["fa21", "ha31"] is GwType.DYNAMIC


def test_a_dynamic_destination_gives_one_vpn_past_the_home_agent() -> None:
    path = _path(2)  # C9, G1, F6
    assert isinstance(path, VpnPath)
    assert [(p.source_gw, p.destination_gw) for p in path.profiles] == [("fa21", "pcn41"), ("pcn41", "fa21")]


@pytest.mark.parametrize("agent", ["fa21", "fa21b", "fa22"])
def test_the_mobiles_side_is_the_agent_that_asked(agent: str) -> None:
    path = _path(2, agent)  # C6, S109
    assert isinstance(path, VpnPath)
    assert path.gateways[0] == agent


def test_profiles_are_directional_in_addresses_and_class() -> None:
    path = _path(1)  # G10
    assert isinstance(path, VpnPath)
    for profile in path.profiles:
        up = profile.direction == "up"
        assert profile.tos == ("ef" if up else "af41")
        assert profile.source.text == ("203.0.113.5/32" if up else "10.5.0.0/16")
        assert profile.destination.text == ("10.5.0.0/16" if up else "203.0.113.5/32")


def test_a_host_destination_is_never_widened() -> None:
    path = _path(5)  # G17
    assert isinstance(path, VpnPath)
    assert path.profiles[0].destination.text == "10.5.1.9/32"


def test_a_shared_relationship_has_the_default_spi() -> None:
    path = _path(2)  # G12, D17
    assert isinstance(path, VpnPath)
    assert {profile.up_spi for profile in path.profiles} == {DEFAULT_SPI}


def test_a_destination_without_a_row_is_rejected_by_name() -> None:
    documents = Documents()
    documents.record(2).update(destaddr="192.0.2.200")
    path = _path(2, documents=documents)  # G25
    assert isinstance(path, Rejected)
    assert "profile 2 of bob@isp3.example" in str(path)
    assert "192.0.2.200/32" in str(path)


def test_a_user_at_home_needs_no_tunnel_from_the_home_agent_to_itself() -> None:
    documents = Documents()
    documents.gateway("ha31").update(roles=["fa", "ha"])
    path = _path(1, "ha31", documents)
    assert isinstance(path, VpnPath)
    assert [(p.source_gw, p.destination_gw) for p in path.profiles] == [("ha31", "gw51"), ("gw51", "ha31")]


def test_a_user_beside_his_correspondent_needs_no_tunnel() -> None:
    documents = Documents()
    documents.gateway("pcn41").update(roles=["fa", "pcn"])
    path = _path(2, "pcn41", documents)
    assert isinstance(path, VpnPath)
    assert path.profiles == ()
