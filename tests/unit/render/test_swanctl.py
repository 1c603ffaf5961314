"""swanctl's syntax, written and read back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roamvpn.render.swanctl import SwanctlError, Tree, dump, load, quote, scalar


def test_a_tree_reads_as_strongswan_documents_it() -> None:
    tree = {
        "connections": {
            "rv-e-ha31": {
                "version": 2,
                "mobike": False,
                "unique": True,
                "proposals": ["aes256-sha256-x25519", "aes128-sha256-x25519"],
                "children": {"c": {"local_ts": "0.0.0.0/0"}},
            }
        }
    }
    assert dump(tree) == (
        "connections {\n"
        "  rv-e-ha31 {\n"
        "    version = 2\n"
        "    mobike = no\n"
        "    unique = yes\n"
        "    proposals = aes256-sha256-x25519, aes128-sha256-x25519\n"
        "    children {\n"
        "      c {\n"
        "        local_ts = 0.0.0.0/0\n"
        "      }\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


@pytest.mark.parametrize("word", ["esp", "10.0.0.0/8", "a-b_c.d", "alice@isp3.example", "0x1001", "%any", "1h"])
def test_a_word_that_means_itself_is_not_quoted(word: str) -> None:
    assert quote(word) == word


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("include", '"include"'),
        ("a b", '"a b"'),
        ("a#b", '"a#b"'),
        ("a}b", '"a}b"'),
        ("a=b", '"a=b"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("a\nb", r'"a\nb"'),
        ("$(id)", '"$(id)"'),
        ("a,b", '"a,b"'),
        ("a;b", '"a;b"'),
        ("é", '"é"'),
    ],
)
def test_everything_else_is(value: str, text: str) -> None:
    assert quote(value) == text
    assert load(f"k = {text}\n") == {"k": value}


@pytest.mark.parametrize("char", ["\x00", "\x01", "\x0b", "\x1b", "\x7f"])
def test_what_no_quoting_carries_is_refused(char: str) -> None:
    with pytest.raises(SwanctlError, match="a control character"):
        quote(f"a{char}b")


def test_an_item_of_a_list_has_no_comma() -> None:
    with pytest.raises(SwanctlError, match="a comma within a list item"):
        scalar(["a", "b,c"])
    assert load(f"k = {scalar(['a b', 'c'])}\n") == {"k": "a b, c"}


@pytest.mark.parametrize("key", ["", "include", "a.b", "a b", "a{", "a\n", "é", "a=", "#a", '"a"'])
def test_a_name_is_a_plain_word(key: str) -> None:
    with pytest.raises(SwanctlError, match="not a section or setting name"):
        dump({key: "x"})
    with pytest.raises(SwanctlError, match="not a section or setting name"):
        dump({"ok": {key: {}}})


@pytest.mark.parametrize("value", [None, 1.5, b"x", object()])
def test_a_value_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(SwanctlError, match="k: cannot write a"):
        dump({"k": value})


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a = 1\na = 2\n", 2, "a is given twice"),
        ("a = 1\na {\n}\n", 2, "a is a setting and a section"),
        ("a {\n  b = 1\n", 3, "a closing brace is missing"),
        ("a {\n}\n}\n", 3, "a closing brace too many"),
        ("\na\n", 2, "expected '{' or '=' after 'a'"),
        ("a = {\n", 1, "unexpected '{' in a value"),
        ("a = b }\n", 1, "unexpected '}' in a value"),
        ("a = b = c\n", 1, "unexpected '=' in a value"),
        ('a = "b\n', 1, "a quoted value does not end"),
        ('a = "\\x"\n', 1, "unknown escape"),
        ("a.b = 1\n", 1, "not a section or setting name"),
        ("include /etc/passwd\n", 1, "an include statement is not expected here"),
        ("a {\n include x\n}\n", 2, "an include statement is not expected here"),
        ('a = "\x00"\n', 1, "a NUL character"),
        ("a {\n" * 30, 25, "nested deeper than 24 levels"),
        ("= 1\n", 1, "expected a name"),
        ('"a" = 1\n', 1, "expected a name"),
    ],
)
def test_what_strongswan_might_read_otherwise_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(SwanctlError) as caught:
        load(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"line {line}: ")


def test_sections_of_one_name_merge() -> None:
    assert load("a {\n b = 1\n}\na {\n c = 2\n}\n") == {"a": {"b": "1", "c": "2"}}


def test_comments_and_blank_lines_mean_nothing() -> None:
    assert load('# one\n\n  a = b # c\n\td = "e # f"\n') == {"a": "b", "d": "e # f"}


def test_an_include_is_read_where_it_is_expected() -> None:
    files = {"x/*.conf": ["a { b = 1\n}\n", "a { c = 2\n}\n"]}
    assert load("include x/*.conf\nd = 3\n", files.__getitem__) == {"a": {"b": "1", "c": "2"}, "d": "3"}
    with pytest.raises(SwanctlError, match="at the top only"):
        load("a {\n include x/*.conf\n}\n", files.__getitem__)


_SCALARS = st.one_of(st.text(), st.booleans(), st.integers(), st.lists(st.text(max_size=5), max_size=3))
_KEYS = st.one_of(st.from_regex(r"[A-Za-z0-9_/-]{1,8}", fullmatch=True), st.text(max_size=5), st.just("include"))
_TREES = st.recursive(
    st.dictionaries(_KEYS, _SCALARS, max_size=4), lambda inner: st.dictionaries(_KEYS, inner | _SCALARS, max_size=4)
)


def _as_read(tree: dict[str, object]) -> Tree:
    """The tree with every value as the text that it stands for."""
    found: Tree = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found[key] = _as_read(value)
        elif isinstance(value, bool):
            found[key] = "yes" if value else "no"
        elif isinstance(value, list):
            found[key] = ", ".join(value)
        else:
            found[key] = str(value)
    return found


@given(_TREES)
@example({"a": "\u2028", "b": "\x85", "c": ["x", "y"], "d": [], "e": "-1"})
@example({"a": {"b": "} connections { x { } }"}})
def test_any_tree_is_refused_or_round_trips(tree: dict[str, object]) -> None:
    try:
        text = dump(tree)
    except SwanctlError:
        return
    assert load(text) == _as_read(tree)
    # a value never ends its line
    assert text.count("\n") == sum(1 for line in text.split("\n") if line)


@given(st.text())
@example('a = "b" "c"\n')
@example("a = b \\\n c\n")
@example("}" * 5)
@example("{" * 5000)
@example("a {\n" * 5000)
def test_any_text_is_refused_or_read_to_a_tree_that_round_trips(text: str) -> None:
    try:
        tree = load(text)
    except SwanctlError:
        return
    assert load(dump(tree)) == tree
