"""Events from the world: what is believed, what is refused, and what is asked for in their name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamvpn.agent.events import MAX_BYTES, Event, Place, event_of, identification, parse_event, refusals, request_of
from roamvpn.signalling.messages import RegReq, ServiceUpdate
from roamvpn.tables.problems import InputError
from tests.hooked import AGENT, NOW, fields

HERE = Place(AGENT, NOW)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda each: st.lists(each, max_size=3)
)


def parsed(**changes: Any) -> Event:  # noqa: ANN401
    return parse_event(json.dumps(fields(**changes)))


def told(raw: bytes | str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_event(raw)
    return [str(problem) for problem in caught.value.problems]


def asked(event: Event, *, serving: bool = True) -> RegReq | None:
    return request_of(event, {"alice@isp3.example": "ha31"}.get, lambda _nai: serving)


def test_an_event_comes_back_as_it_was() -> None:
    event = parsed(session_id="s 1", prev_gw="fa22", evidence={"nas": "ap-7"})
    assert parse_event(event.encoded()) == event
    assert json.loads(event.encoded()) == fields(session_id="s 1", prev_gw="fa22", evidence={"nas": "ap-7"})


def test_all_problems_are_told_at_once_with_field_and_value() -> None:
    found = told(json.dumps(fields(v=2, nai="alice", seq=None, command="reboot", lifetime_s=70000)))
    assert [each.split(": ")[1:3] for each in found] == [
        ["command", "'reboot'"],
        ["lifetime_s", "70000"],
        ["nai", "'alice'"],
        ["seq", "Field required"],
        ["v", "2"],
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", True),
        ("event_id", ""),
        ("event_id", "-rf"),
        ("event_id", "a" * 129),
        ("event_id", "a\n"),
        ("type", "reboot"),
        ("agent", "Fa21"),
        ("nai", "alice\x00@isp3.example"),
        ("nai", "alice@isp3.example\n"),
        ("nai", "a" * 250 + "@b.example"),
        ("nai", "älice@isp3.example"),
        ("nai", ["alice@isp3.example"]),
        ("session_id", "a\tb"),
        ("session_id", "a" * 254),
        ("home_addr", "10.3.0.11/24"),
        ("home_addr", "224.0.0.1"),
        ("home_addr", "127.0.0.1"),
        ("access_gw", "fa21;id"),
        ("prev_gw", "../fa22"),
        ("seq", 0),
        ("seq", 2**64),
        ("seq", 1.5),
        ("seq", "7"),
        ("observed_at", -1),
        ("observed_at", NOW + 0.5),
        ("lifetime_s", -1),
        ("source", "rumour"),
        ("evidence", {"a b": "c"}),
        ("evidence", {"a": "\x1b[2J"}),
        ("evidence", {f"k{number}": "v" for number in range(17)}),
        ("evidence", {"a": {"b": "c"}}),
        ("spi", 256),
        ("tos", 46),
    ],
)
def test_a_field_that_does_not_hold_is_named(field: str, value: object) -> None:
    found = told(json.dumps(fields() | {field: value}))
    assert [each.split(": ")[1].split(".")[0] for each in found] == [field]
    assert all(each.isprintable() for each in found)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 10_000, b'{"v":1}{"v":1}', b"NaN"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    assert told(raw)


def test_an_event_has_a_largest_size() -> None:
    fits = json.dumps(fields()).encode().ljust(MAX_BYTES)
    assert parse_event(fits).seq == fields()["seq"]
    assert told(fits + b" ") == [f"event: is larger than {MAX_BYTES} bytes"]


@given(st.binary() | st.dictionaries(st.sampled_from([*fields(), "x"]) | st.text(), JSON).map(json.dumps))
def test_nothing_but_a_clean_refusal_comes_of_anything(raw: bytes | str) -> None:
    assert all(each.isprintable() for each in told(raw))


def test_an_agent_speaks_for_itself_only() -> None:
    assert refusals(parsed(), HERE) == []
    foreign = refusals(parsed(agent="fa22", access_gw="fa23"), HERE)
    assert [(each.field, each.value) for each in foreign] == [("agent", "'fa22'"), ("access_gw", "'fa23'")]


@pytest.mark.parametrize(("ahead", "believed"), [(60, True), (61, False), (-1800, True), (-1801, False)])
def test_clocks_may_differ_so_much(ahead: int, believed: bool) -> None:
    found = refusals(parsed(observed_at=NOW + ahead), HERE)
    assert [each.field for each in found] == ([] if believed else ["observed_at"])


@pytest.mark.parametrize(
    ("kind", "lifetime"), [("register", 0), ("refresh", 0), ("service_update", 0), ("deregister", 9)]
)
def test_only_who_leaves_has_no_lifetime(kind: str, lifetime: int) -> None:
    assert [each.field for each in refusals(parsed(type=kind, lifetime_s=lifetime), HERE)] == ["lifetime_s"]


def test_a_registration_is_asked_for_as_a_mobile_would() -> None:  # E1.2, B19
    seq = fields()["seq"]
    assert asked(parsed()) == RegReq("alice@isp3.example", seq, "ha31", 600)
    assert asked(parsed(type="refresh")) == RegReq("alice@isp3.example", seq, "ha31", 600)


def test_the_previous_gateway_is_the_old_foreign_agent() -> None:  # E2.1
    request = asked(parsed(prev_gw="fa22"))
    assert request is not None
    assert request.old_fa == "fa22"


def test_a_service_update_asks_for_the_database(  # E7.2
) -> None:
    request = asked(parsed(type="service_update"))
    assert request is not None
    assert request.update == ServiceUpdate()


def test_who_leaves_registers_for_no_time() -> None:  # F10
    request = asked(parsed(type="deregister", lifetime_s=0, prev_gw="fa22"))
    assert request is not None
    assert (request.lifetime, request.old_fa) == (0, None)


def test_a_goodbye_that_was_only_observed_counts_where_the_user_still_is() -> None:
    left = {"type": "deregister", "lifetime_s": 0}
    assert asked(parsed(**left, source="radius"), serving=False) is None
    assert asked(parsed(**left, source="radius"), serving=True) is not None
    # he says so himself, or an operator does
    assert asked(parsed(**left, source="mip"), serving=False) is not None
    assert asked(parsed(**left, source="manual"), serving=False) is not None


def test_a_user_without_a_home_agent_names_none() -> None:
    request = asked(parsed(nai="eve@elsewhere.example"))
    assert request is not None
    assert request.home_agent == ""


def test_a_seq_made_of_the_time_is_that_of_ntp() -> None:  # RFC 5944 section 5.7.1
    assert identification(0) == 2_208_988_800 << 32
    assert identification(NOW, 5) < identification(NOW, 6) < identification(NOW + 1) < 2**64


def test_adapters_are_told_the_same() -> None:
    assert event_of(fields()) == parsed()
    with pytest.raises(InputError, match=r"event: nai: .* \(RFC 4282\)"):
        event_of(fields() | {"nai": "nobody"})
