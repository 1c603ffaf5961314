"""Entries as text: nothing is lost, and damage gives one error that tells nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roamvpn.policy.information import VpnInformation
from roamvpn.policy.paths import Segment, SegmentKind
from roamvpn.signalling.aaah import HomeEntry
from roamvpn.signalling.codec import decode, encode
from roamvpn.signalling.messages import NodeRole
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.secrets import ProfileKeys, Secret
from roamvpn.tables.types import Prefix, Security, Share
from tests.walks import entries

_KEY = Secret(bytes(range(32)))
_SEGMENT = Segment(
    SegmentKind.DIRECT,
    7,
    "alice@home.example",
    Prefix(0x64400001, 32, "100.64.0.1/32"),
    Prefix(0x0A000000, 16, "10.0.0.0/16"),
    "ef",
    None,
    Security.ESP,
    Share.OWN,
    "fa1",
    "pcn1",
    0x1001,
    0x1002,
    ProfileKeys(psk=_KEY),
)
_ENTRY = HomeEntry(
    "alice@home.example",
    4,
    VpnInformation("aaah;00", "alice@home.example", "100.64.0.1", 3, "fa1", 2, (_SEGMENT,)),
    99,
)


@pytest.mark.parametrize("seed", range(6))
def test_every_entry_of_a_history_comes_back_as_it_was(seed: int) -> None:
    found = entries(seed)
    assert set(found) == {NodeRole.FA, NodeRole.HA, NodeRole.AAAH, NodeRole.PCN}
    for rows in found.values():
        for entry in rows.values():
            back = decode(type(entry), encode(entry))
            # equal tuples may be of other kinds: the text of both says which
            assert (back, repr(back)) == (entry, repr(entry))


def test_all_four_keys_come_back() -> None:
    keys = ProfileKeys(None, *(Secret(bytes([number]) * 32) for number in range(4)))
    segment = _SEGMENT._replace(keys=keys)
    assert _ENTRY.information is not None
    entry = _ENTRY._replace(information=_ENTRY.information._replace(segments=(segment,)))
    assert decode(HomeEntry, encode(entry)) == entry


def test_names_that_come_again_are_one_object() -> None:
    entry = decode(HomeEntry, encode(_ENTRY))
    assert entry.nai is entry.information.nai is entry.information.segments[0].nai


def _places(value: object, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    inner = (
        [place for i, each in enumerate(value) for place in _places(each, (*path, i))]
        if isinstance(value, list)
        else []
    )
    return [path, *inner]


@given(
    place=st.sampled_from(_places(json.loads(encode(_ENTRY)))),
    other=st.sampled_from([None, True, 1.5, -1, "x", [], {}, [1], {"psk": 1}]),
)
@settings(max_examples=300, deadline=None)
def test_a_field_of_another_type_gives_the_error_or_an_entry_that_can_be_written(
    place: tuple[int, ...], other: object
) -> None:
    row = json.loads(encode(_ENTRY))
    *above, last = (0, *place)
    damaged = [row]
    node: Any = damaged
    for index in above:
        node = node[index]
    node[last] = other
    entry = None
    with suppress(RoamvpnError):
        entry = decode(HomeEntry, json.dumps(damaged[0]))
    assert entry is None or decode(HomeEntry, encode(entry)) == entry


@given(cut=st.integers(0, len(encode(_ENTRY)) - 1))
def test_half_a_text_gives_the_error(cut: int) -> None:
    with pytest.raises(RoamvpnError, match="a stored HomeEntry cannot be read"):
        decode(HomeEntry, encode(_ENTRY)[:cut])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        '"abcde"',
        "[]",
        "[" * 100_000,
        encode(_ENTRY).replace(_KEY.hex(), "zz" + _KEY.hex()),
        encode(_ENTRY).replace('"direct"', '"' + _KEY.hex() + '"'),
    ],
    ids=["empty", "null", "object", "string", "no fields", "deep", "no key", "no member"],
)
def test_damage_is_told_without_the_text(text: str) -> None:
    with pytest.raises(RoamvpnError) as caught:
        decode(HomeEntry, text)
    assert _KEY.hex() not in str(caught.value)
    # nor may a traceback show it
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
