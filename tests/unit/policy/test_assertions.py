"""`policy_tests.yml`: what is expected of the tables, and what is said where it does not come out."""

from __future__ import annotations

import pytest

from roamvpn.engine import check_policy
from roamvpn.policy.assertions import decide, evaluate
from roamvpn.tables.problems import InputError
from roamvpn.tables.records import PolicyTest
from tests.documents import Documents

TABLES = Documents().site().tables


def _evaluate(expect: object, *, user: str = "alice", at: str = "fa21", to: str = "10.5.1.9") -> list[str]:
    test = PolicyTest.model_validate({"user": f"{user}@isp3.example", "at": at, "to": to, "expect": expect})
    return evaluate(TABLES, test)


def test_an_expectation_that_holds_says_nothing() -> None:
    path = ["fa21", "ha31", "gw51"]
    assert _evaluate({"path": path, "security": "esp", "share": "own", "upclass": "ef", "downclass": "af41"}) == []
    assert _evaluate({"path": path}) == []
    assert _evaluate("none", user="grace") == []


@pytest.mark.parametrize(
    ("expect", "difference"),
    [
        ({"path": ["fa21", "gw51"]}, "path is fa21→ha31→gw51, expected fa21→gw51"),
        ({"path": ["fa21", "ha31", "gw51"], "security": "ah"}, "security is esp, expected ah"),
        ({"path": ["fa21", "ha31", "gw51"], "share": "shared"}, "share is own, expected shared"),
        ({"path": ["fa21", "ha31", "gw51"], "upclass": "none"}, "upclass is ef, expected none"),
        ({"path": ["fa21", "ha31", "gw51"], "downclass": "ef"}, "downclass is af41, expected ef"),
        ("none", "expected none, but profile 1 carries it: esp (own) over fa21→ha31→gw51"),
    ],
)
def test_each_difference_is_one_sentence(expect: object, difference: str) -> None:
    assert _evaluate(expect) == [difference]


def test_all_differences_are_told_at_once() -> None:
    assert len(_evaluate({"path": ["fa21", "gw51"], "security": "ah", "share": "shared", "upclass": "none"})) == 4


def test_a_vpn_that_is_missing_is_told() -> None:
    wanted = {"path": ["fa21", "pcn41"]}
    assert _evaluate(wanted, user="grace") == ["expected esp over fa21→pcn41, but no VPN carries it"]


def test_a_class_that_is_left_out_of_the_record_is_none() -> None:  # B3, G12
    assert _evaluate({"path": ["fa21", "pcn41"], "downclass": "none"}, user="bob", to="198.51.100.9") == []


def test_of_two_records_the_longer_destination_decides() -> None:
    documents = Documents()
    record = {**documents.record(4), "profile_number": 99, "destaddr": "198.51.100.0/25", "upclass": "ef"}
    documents.records.append(record)
    tables = documents.site().tables
    for address, number in (("198.51.100.9", 4), ("198.51.100.10", 99)):
        decision = decide(tables, "carol@isp3.example", "fa21", address)
        assert decision is not None
        assert decision[0].profile_number == number


def test_a_rejected_record_leaves_the_next_one_to_decide() -> None:  # G25
    documents = Documents()
    documents.record(2).update(destaddr="192.0.2.200")
    assert decide(documents.site().tables, "bob@isp3.example", "fa21", "192.0.2.200") is None


def test_every_failed_assertion_is_placed_in_its_file() -> None:
    documents = Documents()
    documents.policy_tests = [
        {"user": "alice@isp3.example", "at": "fa21", "to": "10.5.1.9", "expect": "none"},
        {"user": "grace@isp3.example", "at": "fa21", "to": "10.5.1.9", "expect": "none"},
        {"user": "bob@isp3.example", "at": "fa22", "to": "198.51.100.9", "expect": {"path": ["fa21", "pcn41"]}},
    ]
    with pytest.raises(InputError) as caught:
        check_policy(documents.site())
    assert [(each.file, each.line, each.field, each.value) for each in caught.value.problems] == [
        ("policy_tests.yml", 2, "policy_tests[0]", "'alice@isp3.example at fa21 to 10.5.1.9'"),
        ("policy_tests.yml", 10, "policy_tests[2]", "'bob@isp3.example at fa22 to 198.51.100.9'"),
    ]
