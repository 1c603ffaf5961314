"""vici messages: what is encoded is decoded, and no bytes break the decoder otherwise than by ValueError."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from roamvpn.gateway.vici import Value, decode, encode

_names = st.text(min_size=1, max_size=20)
_values = st.binary(max_size=200)
_messages: st.SearchStrategy[dict[str, Value]] = st.recursive(
    st.dictionaries(_names, _values | st.lists(_values, max_size=4), max_size=4),
    lambda inner: st.dictionaries(_names, _values | inner, max_size=4),
    max_leaves=10,
)


@given(_messages)
def test_a_message_survives(message: dict[str, Value]) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=300))
@example(b"\x01\x01a" * 5000)
@example(b"\x04\x01a\x05")
@example(b"\x03\x01a\x00")
@example(b"\x03\x01\xff\x00\x00")
def test_any_bytes_are_a_message_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        decode(data)


@given(_messages, st.data())
def test_a_cut_message_is_a_value_error_or_another_message(message: dict[str, Value], data: st.DataObject) -> None:
    raw = encode(message)
    cut = data.draw(st.integers(0, len(raw)))
    with suppress(ValueError):
        assert len(encode(decode(raw[:cut]))) == cut
