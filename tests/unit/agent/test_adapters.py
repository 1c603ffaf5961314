"""What others tell in their own words, as events."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamvpn.agent.adapters import Here, from_kea, from_radius, from_vici
from roamvpn.agent.events import identification
from roamvpn.tables.problems import InputError
from tests.hooked import AGENT, NOW, USERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.agent.events import Event

HERE = Here(AGENT, USERS.get)
PACKET = {
    "User-Name": "alice@isp3.example",
    "Framed-IP-Address": "10.3.0.11",
    "Acct-Status-Type": "Start",
    "Acct-Session-Id": "1",
    "Event-Timestamp": NOW,
}
LEASE = {
    "hook": "committed",
    "at": f"{NOW}500000000",
    "address": "10.3.0.12",
    "hwaddr": "02:00:00:00:00:12",
    "client_id": "",
    "lifetime_s": "900",
}
CONNECTED = {
    "up": b"yes",
    "roadwarriors": {
        "uniqueid": b"3",
        "remote-host": b"198.51.100.7",
        "remote-id": b"CN=laptop",
        "remote-eap-id": b"alice@isp3.example",
        "remote-vips": [b"10.3.0.11"],
        "child-sas": {"net-1": {"name": b"net"}},
    },
}
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=8,
)


def radius(**changes: Any) -> Event:  # noqa: ANN401
    return from_radius(
        json.dumps(PACKET | {name.replace("_", "-"): value for name, value in changes.items()}).encode(), HERE
    )


def kea(**changes: Any) -> Event:  # noqa: ANN401
    return from_kea(json.dumps(LEASE | changes).encode(), HERE)


# RADIUS


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("Start", "register"),
        ("Interim-Update", "refresh"),
        ("Alive", "refresh"),
        (3, "refresh"),
        ("Stop", "deregister"),
        ("2", "deregister"),
    ],
)
def test_the_status_of_accounting_is_the_type(status: object, kind: str) -> None:
    assert radius(Acct_Status_Type=status).type == kind


def test_a_value_may_stand_alone_or_as_rlm_rest_wraps_it() -> None:
    wrapped = {name: {"type": "string", "value": [value, "another"]} for name, value in PACKET.items()}
    assert from_radius(json.dumps(wrapped).encode(), HERE) == radius()


def test_attributes_that_change_from_try_to_try_change_nothing() -> None:
    assert radius(Acct_Delay_Time=5, Acct_Input_Octets=7) == radius()


def test_each_session_of_each_access_server_is_another() -> None:
    sessions = [radius(), radius(Acct_Session_Id="2"), radius(NAS_Identifier="a"), radius(NAS_IP_Address="10.0.0.1")]
    assert len({each.session_id for each in sessions}) == 4


def test_within_one_second_a_session_ends_before_the_next_begins() -> None:
    stop = radius(Acct_Status_Type="Stop", Acct_Session_Time=50)
    start, interim = radius(), radius(Acct_Status_Type="Interim-Update")
    at_once = radius(Acct_Status_Type="Stop", Acct_Session_Time=0)
    assert stop.seq < start.seq < interim.seq < at_once.seq < identification(NOW + 1)


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Nov 18 2026 11:06:40 UTC", 1_795_000_000),
        ("Nov 18 2026 12:06:40 CET", 1_795_000_000),
        ("Jul  1 2026 02:00:00 CEST", 1_782_864_000),
        # the hour that comes twice
        ("Oct 25 2026 02:30:00 CEST", 1_792_888_200),
        ("Oct 25 2026 02:30:00 CET", 1_792_891_800),
    ],
)
def test_a_date_is_read_as_freeradius_prints_it(text: str, seconds: int) -> None:
    assert radius(Event_Timestamp=text).observed_at == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Nov 18 2026 11:06:40 XYZ",
        "Foo 18 2026 11:06:40 UTC",
        "Nov 18 0000 11:06:40 UTC",
        "1e9",
        True,
        None,
    ],
)
def test_a_date_that_says_nothing_is_told(text: object) -> None:
    with pytest.raises(InputError, match="Event-Timestamp"):
        radius(Event_Timestamp=text)


def test_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        from_radius(b'{"Acct-Status-Type": "Accounting-On"}', HERE)
    assert [each.field for each in caught.value.problems] == ["Acct-Session-Id", "Acct-Status-Type", "Event-Timestamp"]
    with pytest.raises(InputError) as caught:
        radius(User_Name="alice", Framed_IP_Address="")
    assert [each.field for each in caught.value.problems] == ["home_addr", "nai"]


# Kea


@pytest.mark.parametrize(
    ("hook", "kind"),
    [("committed", "register"), ("release", "deregister"), ("expire", "deregister"), ("decline", "deregister")],
)
def test_a_lease_belongs_to_the_user_whose_home_address_it_is(hook: str, kind: str) -> None:
    event = kea(hook=hook)
    assert (event.type, event.nai, event.home_addr) == (kind, "bob@isp3.example", "10.3.0.12")
    assert event.lifetime_s == (900 if kind == "register" else 0)
    assert event.seq == identification(NOW, 1 << 31)


@pytest.mark.parametrize(("given_s", "granted"), [("4294967295", 0xFFFF), ("0", 1800), ("", 1800), ("x", 1800)])
def test_a_lease_grants_what_a_registration_can(given_s: str, granted: int) -> None:
    assert kea(lifetime_s=given_s).lifetime_s == granted


def test_a_lease_of_nobody_is_told() -> None:
    with pytest.raises(InputError) as caught:
        kea(address="10.3.0.99", hook="lease4_select", at="now")
    assert [(each.field, each.value) for each in caught.value.problems] == [
        ("address", "'10.3.0.99'"),
        ("at", "'now'"),
        ("hook", "'lease4_select'"),
    ]


# vici


def test_a_remote_access_connection_comes_and_goes() -> None:
    at = NOW * 10**9
    (came,) = from_vici(CONNECTED, frozenset({"roadwarriors"}), at, HERE)
    (left,) = from_vici({"roadwarriors": CONNECTED["roadwarriors"]}, frozenset({"roadwarriors"}), at + 1000, HERE)
    assert (came.type, left.type) == ("register", "deregister")
    # whom EAP proved, not what the certificate of the machine says
    assert came.nai == "alice@isp3.example"
    assert came.home_addr == "10.3.0.11"
    assert came.session_id == left.session_id
    assert came.seq < left.seq


def test_other_connections_are_no_registrations() -> None:
    assert from_vici(CONNECTED, frozenset({"rv-p1"}), NOW * 10**9, HERE) == []


@pytest.mark.parametrize(
    "change",
    [{"remote-vips": []}, {"remote-vips": b"x"}, {"remote-eap-id": b"\xff@b.example"}, {"remote-eap-id": b"alice"}],
)
def test_a_connection_without_a_user_is_told(change: dict[str, object]) -> None:
    connection = CONNECTED["roadwarriors"]
    assert isinstance(connection, dict)
    with pytest.raises(InputError):
        from_vici({"up": b"yes", "roadwarriors": connection | change}, frozenset({"roadwarriors"}), NOW * 10**9, HERE)


# anything


@given(st.binary() | ANY.map(lambda each: json.dumps(each).encode()))
def test_nothing_but_a_clean_refusal_comes_of_anything(raw: bytes) -> None:
    for adapter in (from_radius, from_kea):
        with pytest.raises(InputError) as caught:
            adapter(raw, HERE)
        assert all(str(each).isprintable() for each in caught.value.problems)


@given(
    st.dictionaries(st.sampled_from([*PACKET, "Acct-Session-Time", "NAS-Identifier"]), ANY),
    st.dictionaries(st.sampled_from(list(LEASE)), ANY),
)
def test_a_hostile_value_in_any_place_gives_an_event_or_a_refusal(
    packet: dict[str, object], lease: dict[str, object]
) -> None:
    for adapter, told in ((from_radius, PACKET | packet), (from_kea, LEASE | lease)):
        try:
            event = adapter(json.dumps(told).encode(), HERE)
        except InputError:
            continue
        assert event.agent == event.access_gw == AGENT
        assert event.encoded().decode().isprintable()
