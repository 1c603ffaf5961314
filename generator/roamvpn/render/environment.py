"""The two Jinja environments. Every `{{ value }}` passes a guard, so no template can forget to quote.

In swanctl templates the guard quotes; in command templates (ip and tc batches), where there is no
quoting, it admits only words that mean themselves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jinja2 import DictLoader, Environment, StrictUndefined

from roamvpn.render import swanctl
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WORD = re.compile(r"[A-Za-z0-9_./:@-]+\Z")


class RenderError(RoamvpnError):
    """A value that must not stand where a template puts it."""


class Comment(str):
    """Text made safe for a comment (`naming.comment`), which the guard lets pass as it is."""

    __slots__ = ()


def _swanctl_guard(value: object) -> str:
    if isinstance(value, Comment):
        return value
    if isinstance(value, (str, bool, int, list, tuple)):
        return swanctl.scalar(value)
    raise RenderError(f"cannot render a {type(value).__name__}")


def _command_guard(value: object) -> str:
    text = value if isinstance(value, str) else str(value) if isinstance(value, int) else ""
    if isinstance(value, Comment) or _WORD.match(text):
        return text
    raise RenderError(f"not a word for a command: {value!r:.60}")


def environments(templates: Mapping[str, str]) -> tuple[Environment, Environment]:
    """The environments for swanctl files and for command batches, over `{name: template text}`."""
    return _environment(templates, _swanctl_guard), _environment(templates, _command_guard)


def _environment(templates: Mapping[str, str], guard: Callable[[object], str]) -> Environment:
    return Environment(
        loader=DictLoader(dict(templates)),
        undefined=StrictUndefined,
        finalize=guard,
        autoescape=False,  # noqa: S701 - the output is no HTML; the guard does what escaping does there
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
