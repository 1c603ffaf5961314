"""YAML text to plain data, strictly: no tags, aliases or duplicate keys, and a line for every field.

YAML 1.1 turns `12:34:56` into a number and `no` into a boolean; a VPN database must not. Only
decimal and `0x` integers, `true`, `false` and `null` are anything but text here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from roamvpn.tables.problems import InputError, Problem, shown

if TYPE_CHECKING:
    from pydantic import ValidationError

Path = tuple[str | int, ...]

_INTEGER = re.compile(r"(?:0x[0-9a-fA-F]{1,8}|0|[1-9][0-9]{0,18})\Z")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ["str", "int", "float", "bool", "null", "timestamp", "merge", "value"]
)
_MAX_DEPTH = 24
_MAX_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Source:
    """One input file: its name for messages, its text, and on demand the line of any field."""

    name: str
    text: str
    _root: yaml.Node | None = field(default=None, repr=False)

    def parse(self) -> object:
        """Plain dicts, lists, strings, integers and booleans.

        Raises:
            InputError: naming each line that is not acceptable YAML.
        """
        root = self._compose()
        reader = _Reader(self.name)
        data = reader.read(root, ()) if root is not None else None
        if reader.problems:
            raise InputError(reader.problems)
        return data

    def line_of(self, path: Path) -> int:
        """The 1-based line of the field at `path`, or of its nearest ancestor that exists."""
        if self._root is None:
            # composed a second time, only when there is something to complain about:
            # keeping every node of a large database would cost more than the data itself
            self._root = self._compose()
        node, line = self._root, 1
        for step in path:
            node, line = _child(node, step, line)
            if node is None:
                break
        return line

    def problem(self, path: Path, value: object, message: str, severity: str = "error") -> Problem:
        """A problem at `path` of this file."""
        return Problem(self.name, self.line_of(path), dotted(path), shown(value), message, severity)

    def problems(self, error: ValidationError, *, hide_values: bool = False) -> list[Problem]:
        """All findings of a pydantic validation, placed in this file."""
        found = []
        for item in error.errors(include_url=False, include_context=False):
            path = tuple(step for step in item["loc"] if step != "[key]")
            message = item["msg"].removeprefix("Value error, ")
            missing = item["type"] in {"missing", "extra_forbidden"} or isinstance(item["input"], (dict, list))
            value = "" if missing or hide_values else shown(item["input"])
            found.append(Problem(self.name, self.line_of(path), dotted(path), value, message))
        return found

    def _compose(self) -> yaml.Node | None:
        if len(self.text) > _MAX_BYTES:
            raise InputError([Problem(self.name, 0, "", "", f"larger than {_MAX_BYTES} bytes")])
        _refuse_depth(self.name, self.text)
        try:
            return yaml.compose(self.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 0
            text = ", ".join(part for part in (error.context, error.problem) if part)
            raise InputError([Problem(self.name, line, "", "", f"not YAML: {text}")]) from None
        except yaml.YAMLError as error:
            reason = getattr(error, "reason", "unreadable")
            position = getattr(error, "position", None)
            where = self.text[:position].count("\n") + 1 if isinstance(position, int) else 0
            raise InputError([Problem(self.name, where, "", "", f"not YAML: {reason}")]) from None


def dotted(path: Path) -> str:
    """`("records", 3, "nai")` as `records[3].nai`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return shown(text)[1:-1]


def _refuse_depth(name: str, text: str) -> None:
    """Refuse nesting that no input has before the parser recurses into it."""
    for number, line in enumerate(text.split("\n"), 1):
        opening = line.count("[") + line.count("{")
        dashes = len(line) - len(line.lstrip(" -?:\t"))
        if opening > 4 * _MAX_DEPTH or dashes > 8 * _MAX_DEPTH:
            raise InputError([Problem(name, number, "", "", f"nested deeper than {_MAX_DEPTH} levels")])


def _child(node: yaml.Node | None, step: str | int, line: int) -> tuple[yaml.Node | None, int]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        child = node.value[step]
        return child, child.start_mark.line + 1
    return None, line


class _Reader:
    """Nodes to data; gathers what it refuses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self._seen: set[int] = set()

    def read(self, node: yaml.Node, path: Path) -> object:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._seen:
            self._refuse(node, path, "anchors and aliases are not accepted; write the value out")
            return None
        self._seen.add(id(node))
        if len(path) > _MAX_DEPTH:
            self._refuse(node, path, f"nested deeper than {_MAX_DEPTH} levels")
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._mapping(node, path)

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, object]:
        data: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(key, path, "a key must be a plain word")
                continue
            if key.value in data:
                self._refuse(key, (*path, key.value), "this key stands twice in one mapping")
            data[key.value] = self.read(value, (*path, key.value))
        return data

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        if node.tag not in _PLAIN_TAGS:
            self._refuse(node, path, f"the tag {shown(node.tag)} is not accepted")
            return None
        text = node.value
        if node.style in ("'", '"', "|", ">"):
            return text
        if _INTEGER.match(text):
            return int(text, 16 if text[:2] == "0x" else 10)
        return _WORDS.get(text, text)

    def _refuse(self, node: yaml.Node, path: Path, message: str) -> None:
        self.problems.append(Problem(self.name, node.start_mark.line + 1, dotted(path), "", message))
