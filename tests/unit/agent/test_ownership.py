"""What sessions own, and whether a live object is what its lines ask for."""

from __future__ import annotations

import json

import pytest

from roamvpn.agent.ownership import Ownership, stands, user_in
from roamvpn.policy.compile import Compiler, add
from roamvpn.policy.naming import user_hash
from roamvpn.tables.gateway_state import GatewayState
from tests.documents import Documents
from tests.one_vpn import Vpn, documents, with_secrets

NETWORK = Documents().site().tables.network
EMPTY = GatewayState("ha31")


@pytest.mark.parametrize(
    ("name", "owned"),
    [
        ("filter block 5222 pref 10016 handle 5", True),
        ("filter block 5223 pref 11000 handle 5", True),
        ("filter block 5222 pref 20016 handle 5", False),
        ("filter block 5222 pref 9999 handle 5", False),
        ("filter dev wan pref 10 handle 46", False),
        ("route 203.0.113.5 table 400000", True),
        ("route default table 400001", False),
        ("route default table 500021", True),
        ("route default table 500051 metric 4000", False),
        ("rule pref 10000 fwmark 600026 lookup 600026", True),
        ("rule pref 10000 fwmark 500051 lookup 500051", False),
        ("rule pref 10000 fwmark 400001 lookup 400001", False),
        ("rule pref 20000 lookup 400000", False),
        ("link rv-e21", True),
        ("link rv-i42", True),
        ("link rv-e51", False),
        ("link rv-own0", False),
        ("link rv-e99", False),
        ("qdisc rv-e21 clsact", True),
        ("qdisc wan root", False),
        ("class wan 1:1", False),
        ("policy 203.0.113.5/32 10.5.0.0/16 out if_id 400001", True),
        ("policy 0.0.0.0/0 0.0.0.0/0 out if_id 500051", False),
    ],
)
def test_objects_of_sessions_are_told_from_those_of_the_base(name: str, owned: bool) -> None:
    assert Ownership(NETWORK, "ha31").object(name, EMPTY) is owned


def test_a_state_set_by_hand_is_the_bases_if_its_spi_is_the_slas() -> None:
    from roamvpn.tables.types import Keying, Share  # noqa: PLC0415 - for this one only

    tables = with_secrets(documents(Vpn(share=Share.SHARED, keying=Keying.STATIC))).site().tables
    state = GatewayState("ha31")
    for each in Compiler(tables).provisioned():
        if each.gateway == "ha31":
            add(state, each)
    ownership = Ownership(tables.network, "ha31")
    assert not ownership.object("state 192.0.2.51 esp 0x00002001", state)
    assert ownership.object("state 192.0.2.51 esp 0x00001001", state)


@pytest.mark.parametrize(
    ("name", "owned"),
    [
        ("rv-p1-u70694a63-fa21", True),
        ("rv-h12-u70694a63-fa21b", True),
        ("rv-e-fa21", True),
        ("rv-a-pcn41b", True),
        ("rv-e-gw51", False),
        ("rv-e-ha31", False),
        ("rv-p1-uXX-fa21", False),
        ("p1-u70694a63-fa21", False),
        ("other", False),
    ],
)
def test_connections_of_sessions_are_told_from_others(name: str, owned: bool) -> None:
    assert Ownership(NETWORK, "ha31").connection(name) is owned


def test_a_static_gateway_has_nothing_of_sessions() -> None:
    ownership = Ownership(NETWORK, "gw51")
    assert not ownership.connection("rv-e-ha31")
    assert not ownership.object("link rv-e31", GatewayState("gw51"))


def test_a_user_is_found_in_the_name_of_his_connection() -> None:
    nai = "alice@isp3.example"
    assert user_in(f"rv-p1-u{user_hash(nai)}-fa21") == user_hash(nai)
    assert user_in("rv-e-fa21") is None


# as `tc -j filter show` of iproute2 6.1 has it
LIVE = json.loads(
    """{"handle":5,"keys":{"eth_type":"ipv4","dst_ip":"10.5.0.0/16","src_ip":"203.0.113.5"},"not_in_hw":true,"actions":[
    {"order":1,"kind":"pedit","control_action":{"type":"pipe"},"nkeys":1,"keys":[
      {"htype":"ipv4","offset":0,"cmd":"set","val":"b80000","mask":"ff03ffff"}]},
    {"order":2,"kind":"csum","csum":"iph","control_action":{"type":"pipe"}},
    {"order":3,"kind":"skbedit","mark":400001,"control_action":{"type":"pipe"}}]}"""
)
DROPS = json.loads(
    """{"handle":6,"keys":{"eth_type":"ipv4","dst_ip":"203.0.113.5","src_ip":"10.5.0.0/16"},"actions":[
    {"order":1,"kind":"gact","control_action":{"type":"drop"},"prob":{"control_action":{"type":"pass"},"val":0}}]}"""
)
HEAD = "filter replace block 5222 protocol ip pref 10016 handle 5 flower"
MARKS = "action pedit ex munge ip dsfield set 184 retain 0xfc pipe action csum ip4h pipe action skbedit mark 400001"
LINE = f"{HEAD} src_ip 203.0.113.5/32 dst_ip 10.5.0.0/16 {MARKS}"


def test_a_filter_stands_if_all_that_matters_is_the_same() -> None:
    assert stands(LIVE, (LINE,))
    assert stands(DROPS, (f"{HEAD} src_ip 10.5.0.0/16 dst_ip 203.0.113.5/32 action drop",))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("203.0.113.5", "203.0.113.6"),
        ("10.5.0.0/16", "10.5.0.0/17"),
        ("set 184", "set 136"),
        ("400001", "400002"),
        (MARKS, "action drop"),
        (MARKS, "action skbedit mark 400001"),
    ],
)
def test_a_filter_that_differs_in_anything_does_not_stand(old: str, new: str) -> None:
    assert not stands(LIVE, (LINE.replace(old, new),))


def test_a_visitors_route_stands_on_its_device_only() -> None:
    line = ("route replace 203.0.113.5/32 dev lan table 400000",)
    assert stands({"dev": "lan"}, line)
    assert not stands({"dev": "wan"}, line)
