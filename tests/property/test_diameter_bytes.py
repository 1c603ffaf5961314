"""Diameter messages survive the wire, and whatever comes from it is a message or a typed error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roamvpn.signalling.messages import Amr, Har
from roamvpn.wire.diameter import DiameterCodec
from roamvpn.wire.diameter_frames import DiameterError, pack_message, peek_header, walk
from tests.diameter import NETWORK, REQUEST, amas, amrs, asked_of, haas, hars

if TYPE_CHECKING:
    from roamvpn.wire.diameter import DiameterMessage

CODEC = DiameterCodec(NETWORK, "aaah33")


def encoded(message: DiameterMessage) -> bytes:
    if isinstance(message, Amr | Har):
        return CODEC.request(message, "ha31", 7)
    return CODEC.answer(message, asked_of(message))


messages = st.one_of(amrs(), amas(), hars(), haas())


@given(messages)
def test_what_is_encoded_is_decoded_as_it_was(message: DiameterMessage) -> None:  # A10, C6, C12, C13
    raw = encoded(message)
    assert CODEC.decode(raw) == message
    assert len(raw) % 4 == 0
    assert encoded(message) == raw


@given(messages, st.data())
def test_a_message_that_was_tampered_with_is_a_message_or_a_typed_error(
    message: DiameterMessage, data: st.DataObject
) -> None:
    raw = bytearray(encoded(message))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.sampled_from((len(raw), len(raw) - 4, data.draw(st.integers(0, len(raw))))))])
    try:
        again = CODEC.decode(cut)
    except DiameterError as error:
        refused(cut, error)
    else:
        # nothing that was taken is anything that could not be sent on
        assert CODEC.decode(encoded(again)) == again


@given(st.binary(max_size=400))
@example(bytes(20))
@example(b"\x01\x00\x00\x14" + bytes(16))
def test_any_bytes_are_a_typed_error(raw: bytes) -> None:
    with pytest.raises(DiameterError) as caught:
        CODEC.decode(raw)
    refused(raw, caught.value)


@given(st.binary(max_size=600), st.sampled_from((260, 262)), st.booleans())
def test_any_avps_are_a_typed_error(avps: bytes, command: int, request: bool) -> None:
    avps = avps[: len(avps) & ~3]
    header = peek_header(encoded(Amr("a@b.c", 1, "fa21", REQUEST)))
    raw = pack_message(header._replace(command=command, flags=0xC0 if request else 0x40), avps)
    with pytest.raises(DiameterError) as caught:
        CODEC.decode(raw)
    refused(raw, caught.value)


def refused(raw: bytes, error: DiameterError) -> None:
    """An answer can be made of every error, and holds."""
    if len(raw) < 20:
        return
    answer = CODEC.refusal(raw, error)
    assert len(answer) == peek_header(answer).length
    assert list(walk(answer))
