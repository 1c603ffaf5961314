"""The guards that every value of a template passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from roamvpn.policy.naming import comment
from roamvpn.render.environment import Comment, RenderError, environments
from roamvpn.render.swanctl import SwanctlError, load

_SETTING, _COMMAND = environments({"setting": "k = {{ value }}\n", "command": "link add {{ value }} up\n"})


def _setting(value: object) -> str:
    return _SETTING.get_template("setting").render(value=value)


def _command(value: object) -> str:
    return _COMMAND.get_template("command").render(value=value)


@given(st.text())
def test_a_setting_is_quoted_or_refused(value: str) -> None:
    try:
        text = _setting(value)
    except SwanctlError:
        return
    assert load(text) == {"k": value}


@pytest.mark.parametrize("value", [None, 1.5, {}, b"x"])
def test_a_setting_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(RenderError, match="cannot render a"):
        _setting(value)


@given(st.text())
def test_a_command_has_just_words(value: str) -> None:
    try:
        text = _command(value)
    except RenderError:
        return
    assert text == f"link add {value} up\n"
    assert len(text.split()) == 4
    assert text.isascii()


@pytest.mark.parametrize(
    "value", ["a b", "a\nb", "a;b", "$(id)", "`id`", "a|b", "a&b", "", "a\\", "a#", "é", "a\n", "'a'", None, 1.5]
)
def test_what_a_shell_or_a_batch_would_read_otherwise_is_refused(value: object) -> None:
    with pytest.raises(RenderError, match="not a word for a command"):
        _command(value)


def test_numbers_are_words() -> None:
    assert _command(400001) == "link add 400001 up\n"


def test_a_name_that_is_missing_is_an_error() -> None:
    with pytest.raises((UndefinedError, RenderError)):
        _SETTING.get_template("setting").render()


@given(st.text())
def test_a_comment_stays_on_its_line_and_expands_to_nothing(value: str) -> None:
    text = comment(value)
    assert "\n" not in text
    assert not set(text) & set("\r\\\"'`${};|&#*?[]~!") - {"?"}
    assert len(text) <= 120
    assert load(_SETTING.from_string("# {{ value }}\nk = 1\n").render(value=Comment(text))) == {"k": "1"}
