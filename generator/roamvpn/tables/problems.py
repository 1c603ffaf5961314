"""The one error hierarchy of inputs: every problem names file, line, field and value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 80


def shown(value: object) -> str:
    """One printable line for a hostile value: escapes controls and non-ASCII, cut at 80 characters."""
    text = ascii(value) if isinstance(value, str) else ascii(str(value))[1:-1]
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 12]}… ({len(text)} long)"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding about an input. `line` is 1-based, 0 where the file as a whole is meant."""

    file: str
    line: int
    field: str
    value: str
    message: str
    severity: str = "error"

    def __str__(self) -> str:
        """`file:line: field: value: message`, leaving out what does not apply."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        parts = [place, self.field, self.value, self.message]
        return ": ".join(part for part in parts if part)


class RoamvpnError(Exception):
    """Base of all errors that a user can cause and read."""


class InputError(RoamvpnError):
    """Inputs that do not hold; carries every problem found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
