"""Names and numbers of everything that we own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamvpn.policy import naming
from roamvpn.tables.types import Security

_IFNAMSIZ = 15


@pytest.mark.parametrize("number", [1, 65535])
def test_device_names_fit_the_kernel(number: int) -> None:
    for security in Security:
        name, _ = naming.shared_device(security, number)
        assert name.startswith("rv-")
        assert len(name) <= _IFNAMSIZ


def test_no_two_devices_share_a_number() -> None:
    shared = [naming.shared_device(security, number)[1] for security in Security for number in range(1, 65536)]
    own = [naming.own_device(generation)[1] for generation in (0, 1)]
    every = [*shared, *own, naming.VISITORS_TABLE]
    assert len(set(every)) == len(every)


def test_successive_generations_alternate_between_two_devices() -> None:
    assert naming.own_device(4) == naming.own_device(0) != naming.own_device(1)


@given(st.text())
def test_a_comment_is_one_harmless_line(text: str) -> None:
    safe = naming.comment(text)
    assert safe.isascii()
    assert safe.isprintable() or not safe
    assert not set(safe) & set("{}\"'`$;\\#=|&*?[]~!%^") - set("?")
    assert len(safe) <= 120


@given(st.text(min_size=1), st.integers(1, 0x0FFFFFFF))
def test_a_leg_name_is_a_word_whatever_the_user_is_called(nai: str, number: int) -> None:
    name = naming.leg_name(naming.flow_name(number, nai), "ha31")
    assert name.replace("-", "").isalnum()
    assert name.isascii()


def test_filters_of_one_gateway_never_share_a_handle() -> None:
    handles = [naming.filter_handle(number, direction) for number in range(1, 500) for direction in ("up", "down")]
    assert len(set(handles)) == len(handles)
    assert max(naming.filter_handle(0x0FFFFFFF, "down"), 0) <= 0xFFFFFFFF


def test_longer_prefixes_come_first_and_owners_never_meet() -> None:
    for owner in ("base", "session"):
        assert naming.filter_priority(owner, 32, 32) < naming.filter_priority(owner, 32, 24)
        assert naming.filter_priority(owner, 32, 0) < naming.filter_priority(owner, 31, 32)
    assert naming.filter_priority("session", 0, 0) < naming.filter_priority("base", 32, 32)
    assert naming.filter_priority("base", 0, 0) <= 0xFFFF
