"""Logs: one JSON object a line on standard error, which the journal keeps; readable lines on a terminal.

Nothing secret is ever bound: keys are of a type that does not print.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import FilteringBoundLogger, Processor

_MAX_VALUE = 2_000


def configure(level: str = "info") -> None:
    """Once, at the start of a daemon."""
    terminal = sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _bounded,
    ]
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer()] if terminal else [structlog.processors.JSONRenderer(sort_keys=True)]
    )
    structlog.configure(
        processors=shared + last,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def logger(**fields: object) -> FilteringBoundLogger:
    """A logger that says these fields on every line."""
    found: FilteringBoundLogger = structlog.get_logger(**fields)
    return found


def _bounded(_logger: object, _method: str, line: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """What comes from outside cannot fill the journal, nor end a line of it (JSON escapes what is left)."""
    for key, value in line.items():
        if isinstance(value, str) and len(value) > _MAX_VALUE:
            line[key] = value[:_MAX_VALUE] + "…"
    return line
