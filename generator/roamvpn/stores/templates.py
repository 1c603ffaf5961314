"""The templates: beside the sources in a checkout, inside the package once installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def _data(installed: str, checkout: str) -> Path:
    inside = _PACKAGE / installed
    return inside if inside.is_dir() else _PACKAGE.parent.parent / checkout


@cache
def templates() -> dict[str, str]:
    """All templates by name, such as `swanctl/own.conf.j2`."""
    root = _data("templates", "templates")
    return {path.relative_to(root).as_posix(): path.read_text() for path in sorted(root.rglob("*.j2"))}


def example_site() -> Path:
    """The directory of the example network."""
    return _data("example", "inventory/example")
