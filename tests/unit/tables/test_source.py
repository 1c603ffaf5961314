"""The YAML reader: strict, and able to say where."""

from __future__ import annotations

import pytest

from roamvpn.tables.problems import InputError, Problem, shown
from roamvpn.tables.source import Source, dotted


def parsed(text: str) -> object:
    return Source("test.yml", text).parse()


def _refusals(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(InputError) as caught:
        Source("test.yml", text).parse()
    assert {problem.file for problem in caught.value.problems} == {"test.yml"}
    return [(problem.line, problem.field, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:34:56", "12:34:56"),  # YAML 1.1 makes this 45296
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("0755", "0755"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        ("2001-06-07", "2001-06-07"),
        ("0x1001", 0x1001),
        ("0", 0),
        ("15", 15),
        ("-1", "-1"),
        ("'15'", "15"),
        ('"true"', "true"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("9" * 20, "9" * 20),
    ],
)
def test_only_integers_true_false_and_null_are_anything_but_text(text: str, value: object) -> None:
    found = parsed(f"key: {text}")
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


def test_a_block_of_text_stays_text() -> None:
    assert parsed("a: |\n  12\nb: >\n  true\n") == {"a": "12\n", "b": "true\n"}


def test_every_key_that_stands_twice_is_named_with_its_line() -> None:
    refused = _refusals("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n")
    assert refused == [
        (4, "b.c", "this key stands twice in one mapping"),
        (5, "a", "this key stands twice in one mapping"),
    ]


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x\n", "a: &x {b: 1}\nc:\n - *x\n", "a: &x\n  <<: *x\n"])
def test_aliases_are_refused(text: str) -> None:
    assert "anchors and aliases are not accepted; write the value out" in [each[2] for each in _refusals(text)]


def test_an_alias_bomb_costs_nothing() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 64)]
    assert len(_refusals("\n".join(lines))) >= 1


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!include", "!!binary", "!vault"])
def test_tags_are_refused(tag: str) -> None:
    ((line, where, message),) = _refusals(f"ok: 1\nbad: {tag} x\n")
    assert (line, where) == (2, "bad")
    assert message.endswith("is not accepted")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "\n".join(" " * n + "a:" for n in range(2000)), "? " * 5000],
    ids=["brackets", "braces", "dashes", "indents", "questions"],
)
def test_deep_nesting_is_refused_and_does_not_recurse(text: str) -> None:
    assert any("nested deeper" in each[2] or each[2].startswith("not YAML") for each in _refusals(text))


def test_nesting_one_level_a_line_is_refused_too() -> None:
    text = "\n".join(" " * depth + f"k{depth}:" for depth in range(40))
    assert any("nested deeper than 24 levels" in each[2] for each in _refusals(text))


@pytest.mark.parametrize("text", ["a: \x00", "\x00", 'a: "\x00"', "a: b\x07"])
def test_control_characters_are_refused(text: str) -> None:
    assert _refusals(f"# one\n{text}")[0][2].startswith("not YAML")


def test_an_escaped_nul_is_text_for_the_types_to_refuse() -> None:
    assert parsed('a: "\\0"') == {"a": "\x00"}


def test_a_syntax_error_has_its_line() -> None:
    ((line, _, message),) = _refusals("a: 1\nb: [1, 2\nc: 3\n")
    assert line in {2, 3}
    assert message.startswith("not YAML: ")


def test_a_second_document_is_refused() -> None:
    ((line, _, message),) = _refusals("a: 1\n---\nb: 1\n")
    assert line == 2
    assert "single document" in message


def test_a_key_must_be_a_plain_word() -> None:
    ((line, _, message),) = _refusals("a: 1\n[b, c]: 2\n")
    assert (line, message) == (2, "a key must be a plain word")


def test_an_empty_file_is_no_data() -> None:
    assert parsed("") is None
    assert parsed("# nothing\n") is None


def test_a_field_has_its_line_and_what_is_not_there_that_of_its_parent() -> None:
    source = Source("test.yml", "rows:\n  - a: 1\n    b: 2\n  - {a: 3,\n     b: 4}\n")
    assert source.line_of(("rows", 0, "b")) == 3
    assert source.line_of(("rows", 1, "b")) == 5
    assert source.line_of(("rows", 1, "missing")) == 4
    assert source.line_of(()) == 1


def test_a_path_reads_as_one_writes_it() -> None:
    assert dotted(("vpn_database", 3, "nai")) == "vpn_database[3].nai"
    assert "\n" not in dotted(("a\nb",))


def test_a_hostile_value_is_shown_as_one_printable_line() -> None:
    assert shown("a\nb\x1b[31m") == "'a\\nb\\x1b[31m'"
    assert len(shown("x" * 100_000)) < 100
    assert shown("\u0430dmin").isascii()


def test_a_problem_reads_as_file_line_field_value_message() -> None:
    problem = Problem("network.yml", 3, "site", "'X'", "is wrong")
    assert str(problem) == "network.yml:3: site: 'X': is wrong"
    assert str(Problem("network.yml", 0, "", "", "this file is missing")) == "network.yml: this file is missing"
