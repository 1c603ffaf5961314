"""swanctl's syntax: YAML-shaped trees to text and back.

A tree is a dict of sections (dicts) and values (text, integers, booleans, lists). `dump` quotes every
value that needs it and refuses what the syntax cannot carry; `load` is the parser that validation and
tests rely on, stricter than strongSwan's: what it accepts, strongSwan reads the same way.
Source: strongswan.conf(5), "SYNTAX".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Value = str | int | bool | list[str] | tuple[str, ...]
Tree = dict[str, "Tree | str"]

_KEY = re.compile(r"[A-Za-z0-9_/-]+\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+*-]+\Z")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_RESERVED = frozenset({"include", ""})
_MAX_DEPTH = 24


class SwanctlError(ValueError):
    """Text or a tree that is not swanctl's syntax."""


def quote(value: str) -> str:
    """The value as it stands after `key =`; raises SwanctlError for what no quoting can carry."""
    if _PLAIN.match(value) and value not in _RESERVED:
        return value
    if any((ord(char) < 32 and char not in _ESCAPES) or ord(char) == 127 for char in value):
        raise SwanctlError(f"a control character in {value!r:.60}")
    return '"' + "".join(_ESCAPES.get(char, char) for char in value) + '"'


def scalar(value: Value) -> str:
    """Text of one value: booleans as yes/no, lists joined by commas."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if any("," in item for item in value):
        raise SwanctlError(f"a comma within a list item: {value!r:.60}")
    # a list of plain words needs no quotes: `a256, b256` reads as one value
    words = [quote(item) for item in value]
    return ", ".join(words) if all(_PLAIN.match(word) for word in words) else quote(", ".join(value))


def dump(tree: Mapping[str, object], indent: int = 0) -> str:
    """Text of a tree, in the order of its keys, two spaces a level."""
    return "".join(f"{line}\n" for line in _lines(tree, indent))


def _lines(tree: Mapping[str, object], indent: int) -> Iterator[str]:
    margin = "  " * indent
    for key, value in tree.items():
        if not _KEY.match(key) or key in _RESERVED:
            raise SwanctlError(f"not a section or setting name: {key!r:.60}")
        if isinstance(value, dict):
            yield f"{margin}{key} {{"
            yield from _lines(value, indent + 1)
            yield f"{margin}}}"
        elif isinstance(value, (str, bool, int, list, tuple)):
            yield f"{margin}{key} = {scalar(value)}"
        else:
            raise SwanctlError(f"{key}: cannot write a {type(value).__name__}")


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\#[^\n]*) | (?P<newline>\n) | (?P<brace>[{}]) | (?P<equals>=)
      | "(?P<quoted>(?:[^"\\]|\\.)*)" | (?P<word>[^\s{}="\#]+)""",
    re.VERBOSE | re.DOTALL,
)


def load(text: str, include: Callable[[str], Iterable[str]] | None = None) -> Tree:
    """Parse text to nested dicts; sections of one name merge, as strongSwan merges them.

    Args:
        text: the file.
        include: given the pattern of an `include` statement, yields the texts it stands for.

    Raises:
        SwanctlError: with the line, for anything that is not the syntax, a value given twice,
            or an include where none is expected.
    """
    tree: Tree = {}
    _Parser(text, include).section(tree, depth=0)
    return tree


class _Parser:
    def __init__(self, text: str, include: Callable[[str], Iterable[str]] | None) -> None:
        self._include = include
        self._line = 1
        self._tokens = self._scan(text)

    def section(self, tree: Tree, depth: int) -> None:
        """Fill `tree` until its closing brace, or at depth 0 until the end."""
        for kind, word in self._tokens:
            if kind == "newline":
                continue
            if kind == "brace" and word == "}":
                if depth:
                    return
                raise self._error("a closing brace too many")
            if kind != "word":
                raise self._error(f"expected a name, found {word!r:.40}")
            if word == "include":
                self._included(tree, depth)
            else:
                self._statement(tree, word, depth)
        if depth:
            raise self._error("a closing brace is missing")

    def _statement(self, tree: Tree, name: str, depth: int) -> None:
        if not _KEY.match(name):
            raise self._error(f"not a section or setting name: {name!r:.40}")
        kind, word = next(self._tokens, ("end", ""))
        if kind == "brace" and word == "{":
            if depth == _MAX_DEPTH:
                raise self._error(f"nested deeper than {_MAX_DEPTH} levels")
            section = tree.setdefault(name, {})
            if not isinstance(section, dict):
                raise self._error(f"{name} is a setting and a section")
            self.section(section, depth + 1)
        elif kind == "equals":
            if name in tree:
                raise self._error(f"{name} is given twice")
            tree[name] = self._value()
        else:
            raise self._error(f"expected '{{' or '=' after {name!r:.40}")

    def _value(self) -> str:
        words: list[str] = []
        for kind, word in self._tokens:
            if kind == "newline":
                break
            if kind in ("word", "quoted"):
                words.append(word)
            else:
                raise self._error(f"unexpected {word!r:.40} in a value")
        return " ".join(words)

    def _included(self, tree: Tree, depth: int) -> None:
        pattern = self._value()
        if self._include is None:
            raise self._error("an include statement is not expected here")
        if depth:
            raise self._error("an include statement is expected at the top only")
        for text in self._include(pattern):
            _Parser(text, self._include).section(tree, depth=0)

    def _scan(self, text: str) -> Iterator[tuple[str, str]]:
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise self._error("a quoted value does not end" if text[position] == '"' else "unreadable")
            kind, word = match.lastgroup, match[match.lastgroup]
            position = match.end()
            if "\x00" in word:
                raise self._error("a NUL character")
            if kind == "quoted":
                word = re.sub(r"\\(.)", self._unescape, word, flags=re.DOTALL)
            if kind != "space":
                yield kind, word
            self._line += match[0].count("\n")

    def _unescape(self, match: re.Match[str]) -> str:
        char = _UNESCAPES.get(match[1])
        if char is None:
            raise self._error(f"unknown escape \\{match[1]!r:.8}")
        return char

    def _error(self, message: str) -> SwanctlError:
        return SwanctlError(f"line {self._line}: {message}")
