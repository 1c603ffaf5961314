"""The terminal without a socket: what it asks, when it believes an answer, what it does about a wrong clock."""

from __future__ import annotations

import pytest

from roamvpn.mobile.terminal import PATIENCE_S, Identity, Terminal
from roamvpn.signalling.messages import Address, Code, NodeRole, RegRep, RegReq, ServiceUpdate
from roamvpn.tables.secrets import Secret
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobile import genuine_at_aaah, refusal_at_home, reply_packet
from tests.mobile_ip import AAA, HOME, IDENT, codec_of, entropy
from tests.signalled import ALICE

AGENT = "192.0.2.21"
WHO = Identity(ALICE, "203.0.113.5", "192.0.2.31", HOME, AAA)


def terminal() -> Terminal:
    return Terminal(WHO, 600)


def understood(data: bytes) -> RegReq:
    request = codec_of("fa21").decode(data, WHO.home).message
    assert isinstance(request, RegReq)
    return request


def reply_to(request: RegReq, code: Code = Code.ACCEPTED, now: int = IDENT) -> bytes:
    lifetime = request.lifetime if code is Code.ACCEPTED else 0
    return reply_packet(RegRep(request.nai, request.seq, code, lifetime), WHO.home, WHO.home_agent, HOME, now)


def test_it_asks_with_both_proofs_and_hears_the_answer() -> None:  # E1.2, F3
    mobile = terminal()
    request = understood(mobile.ask(AGENT, IDENT, 1.0))
    assert (request.nai, request.seq, request.home_agent, request.lifetime) == (ALICE, IDENT, "ha31", 600)
    assert refusal_at_home(request, HOME, IDENT) is None
    assert genuine_at_aaah(request, AAA)
    outcome = mobile.hear(reply_to(request), 1.25)
    assert outcome is not None
    assert (outcome.code, outcome.lifetime, outcome.by_home, outcome.after_ms) == (0, 600, True, 250)
    assert mobile.served_by == AGENT


def test_after_a_move_it_says_where_it_was_and_which_reply_it_had() -> None:  # E2.1
    mobile = terminal()
    first = understood(mobile.ask(AGENT, IDENT, 1.0))
    mobile.hear(reply_to(first), 1.1)
    second = understood(mobile.ask("192.0.2.22", IDENT + 9, 2.0, old=AGENT, update=True))
    assert (second.old_fa, second.update, second.answered) == ("fa21", ServiceUpdate(), first.seq)


def test_it_asks_again_with_later_identifications_and_growing_patience() -> None:  # RFC 5944 section 3.6.3
    mobile = terminal()
    seqs, pauses = [understood(mobile.ask(AGENT, IDENT, 1.0)).seq], [mobile.patience]
    for _ in range(5):
        # a clock that stands still, or goes back, does no harm
        seqs.append(understood(mobile.again(IDENT - 5)).seq)
        pauses.append(mobile.patience)
    assert seqs == [IDENT + n for n in range(6)]
    assert pauses == [*PATIENCE_S, PATIENCE_S[-1], PATIENCE_S[-1]]


def test_it_signs_off() -> None:  # F10
    mobile = terminal()
    mobile.hear(reply_to(understood(mobile.ask(AGENT, IDENT, 1.0))), 1.1)
    request = understood(mobile.ask(AGENT, IDENT + 1, 2.0, leave=True))
    assert request.lifetime == 0
    assert mobile.hear(reply_to(request), 2.1) is not None
    assert mobile.served_by is None


def test_answers_to_something_else_are_not_heard() -> None:
    mobile = terminal()
    first = understood(mobile.ask(AGENT, IDENT, 1.0))
    second = understood(mobile.again(IDENT + 9))
    assert mobile.hear(reply_to(first), 1.1) is None
    assert mobile.hear(reply_to(second), 1.1) is not None
    assert mobile.hear(reply_to(second), 1.2) is None


def test_forged_answers_are_errors() -> None:
    mobile = terminal()
    request = understood(mobile.ask(AGENT, IDENT, 1.0))
    reply = RegRep(ALICE, request.seq, Code.ACCEPTED, 600)
    for forged in (
        reply_packet(reply, WHO.home, WHO.home_agent, HOME._replace(key=Secret(b"x" * 16)), IDENT),
        reply_packet(reply._replace(nai="bob@isp3.example"), WHO.home, WHO.home_agent, HOME, IDENT),
        codec_of("fa21").encode(Address(NodeRole.MN, ALICE), reply, entropy),
        b"\x03",
    ):
        with pytest.raises(WireError):
            mobile.hear(forged, 1.1)
    assert mobile.waiting


def test_a_foreign_agents_refusal_is_heard_unsigned() -> None:
    mobile = terminal()
    request = understood(mobile.ask(AGENT, IDENT, 1.0))
    refusal = RegRep(ALICE, request.seq, Code.FA_RESOURCES)
    outcome = mobile.hear(codec_of("fa21").encode(Address(NodeRole.MN, ALICE), refusal, entropy), 1.1)
    assert outcome is not None
    assert (outcome.code, outcome.by_home, mobile.served_by) == (66, False, None)


@pytest.mark.parametrize("wrong_s", [-100_000, -8, 8, 100_000])
def test_a_wrong_clock_is_set_by_home_and_by_nobody_else(wrong_s: int) -> None:  # RFC 5944 section 5.7.1
    mobile = terminal()
    wrong = IDENT + (wrong_s << 32)
    request = understood(mobile.ask(AGENT, wrong, 1.0))
    assert refusal_at_home(request, HOME, IDENT) is Code.STALE
    unsigned = codec_of("fa21").encode(Address(NodeRole.MN, ALICE), RegRep(ALICE, request.seq, Code.STALE), entropy)
    other = terminal()
    other.ask(AGENT, wrong, 1.0)
    heard = other.hear(unsigned, 1.1)
    assert heard is not None
    assert not heard.clock_set
    assert other.offset == 0
    outcome = mobile.hear(reply_to(request, Code.STALE), 1.1)
    assert outcome is not None
    assert outcome.clock_set
    assert mobile.waiting
    again = understood(mobile.again(wrong + (1 << 32)))
    assert refusal_at_home(again, HOME, IDENT + (1 << 32)) is None
    # and so are all that follow
    assert mobile.hear(reply_to(again), 1.2) is not None
    assert refusal_at_home(understood(mobile.ask(AGENT, wrong + (60 << 32), 60.0)), HOME, IDENT + (60 << 32)) is None


def test_a_clock_is_set_once_for_each_request() -> None:
    mobile = terminal()
    request = understood(mobile.ask(AGENT, IDENT, 1.0))
    mobile.hear(reply_to(request, Code.STALE, IDENT + (99 << 32)), 1.1)
    again = understood(mobile.again(IDENT))
    outcome = mobile.hear(reply_to(again, Code.STALE, IDENT), 1.2)
    assert outcome is not None
    assert (outcome.code, outcome.clock_set, mobile.waiting) == (133, False, False)
