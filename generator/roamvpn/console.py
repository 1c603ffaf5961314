"""What people read: colours on a terminal and none in a pipe, notes and errors on stderr, progress for long work."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import rich.console
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from roamvpn.tables.problems import Problem

_DIFF_STYLES = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red"}
_LONG = 20
"""Steps from which on progress is worth a bar."""


class Console:
    """Writes results to stdout and everything else to stderr."""

    def __init__(self) -> None:
        self._out = rich.console.Console(highlight=False, soft_wrap=True)
        if not self._out.is_terminal:
            # a pipe has no width: tables stand in full, for grep
            self._out.width = 200
        self._err = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)

    def diff(self, text: str) -> None:
        """A unified diff, coloured on a terminal."""
        if not self._out.is_terminal:
            sys.stdout.write(text)
            return
        for line in text.splitlines():
            style = next((style for start, style in _DIFF_STYLES.items() if line.startswith(start)), "")
            self._out.print(Text(line, style=style))

    def lines(self, texts: Iterable[str]) -> None:
        """Text as it is; what comes is green and what goes is red on a terminal."""
        for text in texts:
            mark = text.lstrip()[:2]
            style = {"+ ": "green", "- ": "red"}.get(mark, "")
            self._out.print(Text(text, style=style), soft_wrap=True)

    def summary(self, text: str) -> None:
        """The last line."""
        self._out.print(Text(text, style="bold"))

    def table(self, title: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """A table; nothing where it has no rows."""
        table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for head in heads:
            table.add_column(head.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        if table.row_count:
            self._out.print(table)

    def good(self, text: str) -> None:
        """A result."""
        self._out.print(Text(text, style="green"))

    def note(self, text: str) -> None:
        """A detail on the way."""
        self._err.print(Text(text, style="dim"))

    def warnings(self, texts: Iterable[str]) -> None:
        """Warnings, a line each."""
        for text in texts:
            self._err.print(Text.assemble(("warning: ", "yellow"), text))

    def error(self, text: str) -> None:
        """One error."""
        self._err.print(Text.assemble(("error: ", "bold red"), text))

    def problems(self, problems: Iterable[Problem]) -> None:
        """All problems of the inputs, a line each, and how many there are."""
        count = 0
        for problem in problems:
            count += 1
            self.error(str(problem))
        self._err.print(Text(f"{count} problem{'s' if count != 1 else ''}; nothing was changed", style="bold"))

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[str], None]]:
        """A bar on a terminal for long work; yields what to call after each step."""
        if not self._err.is_terminal or total < _LONG:
            yield lambda _name: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda _name: bar.advance(task)
