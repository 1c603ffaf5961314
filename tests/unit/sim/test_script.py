"""`moves.yml`: what it may say, what is said of mistakes, and what comes of it."""

from __future__ import annotations

import pytest

from roamvpn.sim.script import Rehearsal, Script, load_script, parse_time, rehearse
from roamvpn.tables.problems import InputError
from tests.documents import Documents

TABLES = Documents().site().tables


def _load(*lines: str, head: str = "") -> Script:
    text = f"{head}\nmoves:\n" + "".join(f"  - {{{line}}}\n" for line in lines)
    return load_script("moves.yml", text, TABLES)


def _problems(*lines: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        _load(*lines)
    return [f"{each.line} {each.field}: {each.message}" for each in caught.value.problems]


def _played(*lines: str) -> Rehearsal:
    return rehearse(TABLES, _load(*lines), {"alice@isp3.example": "fa21", "bob@isp3.example": "fa21"})


@pytest.mark.parametrize(("text", "seconds"), [(3, 3), ("1.5s", 1.5), ("250ms", 0.25), ("2m", 120), ("0", 0)])
def test_times_have_units(text: object, seconds: float) -> None:
    assert parse_time(text) == seconds * 1_000_000


@pytest.mark.parametrize("text", ["", "-1", "1h", "1.5.2", "ten", True, None, 10**7])
def test_other_times_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        parse_time(text)


def test_all_mistakes_are_told_at_once_with_their_lines() -> None:
    assert _problems(
        "at: 5, user: alice@isp3.example, move: fa99",
        "at: 1, user: nobody@isp3.example, refresh: true",
        "at: 9, crash: gw51, lasts: 1s",
        "at: 9, cut: [fa21, nowhere], lasts: 1s",
    ) == [
        "3 moves[0].move: is not a foreign agent",
        "4 moves[1].at: is earlier than the line before",
        "4 moves[1].user: is not a subscriber",
        "5 moves[2].crash: is not a node that signalling reaches",
        "6 moves[3].cut: is not a node that signalling reaches",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("at: 1, user: alice@isp3.example", "does one thing"),
        ("at: 1, user: alice@isp3.example, move: fa21, refresh: true", "does one thing"),
        ("at: 1, move: fa21", "needs a user"),
        ("at: 1, user: alice@isp3.example, crash: ha31, lasts: 1", "is about a node"),
        ("at: 1, crash: ha31", "needs lasts"),
        ("at: 1, user: alice@isp3.example, move: fa21, lasts: 1", "lasts is for faults"),
        ("at: 1, user: alice@isp3.example, fly: true", "Extra inputs are not permitted"),
    ],
)
def test_a_line_does_one_thing(line: str, message: str) -> None:
    assert message in _problems(line)[0]


def test_a_realm_without_a_home_server_is_told() -> None:
    documents = Documents()
    documents.network["aaa_servers"].pop("aaah33")
    with pytest.raises(InputError) as caught:
        load_script("moves.yml", "moves: [{at: 1, user: alice@isp3.example, move: fa21}]", documents.site().tables)
    assert "no AAA server of role home" in str(caught.value)


def test_records_of_a_service_update_are_checked() -> None:
    record = "{profile_number: 1, nai: bob@isp3.example, vpnshare: 0, destaddr: 10.5.0.0/16, upclass: gold}"
    assert _problems(f"at: 1, user: alice@isp3.example, service_update: [{record}]") == [
        "3 moves[0].service_update[0].nai: is not the user of this line",
        "3 moves[0].service_update[0].upclass: is not a service class of this network",
    ]


def test_a_move_is_answered_and_says_what_it_touched() -> None:
    found = _played("at: 1, user: alice@isp3.example, move: fa21b")
    (answer,) = found.answers
    assert answer.waited is not None
    assert (answer.attempts, answer.gateways) == (1, ("fa21", "fa21b", "ha31"))
    assert found.differences == []


def test_a_crash_makes_the_terminal_ask_again() -> None:
    found = _played("at: 1, crash: ha31, lasts: 3s", "at: 2s, user: bob@isp3.example, move: fa22")
    assert found.answers[1].attempts == 2
    assert found.differences == []


def test_without_the_database_a_new_session_waits_and_a_move_does_not() -> None:  # G25
    found = _played(
        "at: 1, database_down: true, lasts: 5s",
        "at: 2, user: carol@isp3.example, appear: fa21",
        "at: 2, user: alice@isp3.example, move: fa21b",
    )
    waited = {answer.text: answer.waited for answer in found.answers}
    assert (waited["alice moves to fa21b"] or 0) < 100
    assert (waited["carol appears at fa21"] or 0) > 3000
    assert any("database" in text for _, _, text in found.alarms)


def test_the_trace_is_about_the_scripts_users() -> None:
    found = _played("at: 1, user: alice@isp3.example, move: fa21b")
    assert not any("bob" in line.who + line.to for line in found.trace.lines)
