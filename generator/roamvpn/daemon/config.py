"""A daemon's own files: read strictly, checked as a whole, every problem told at once."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from roamvpn.signalling.effects import Order
from roamvpn.signalling.settings import Settings
from roamvpn.tables.base import Frozen
from roamvpn.tables.problems import InputError, Problem, RoamvpnError
from roamvpn.tables.source import Source

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES = 16 << 20
AbsolutePath = Annotated[str, StringConstraints(strict=True, pattern=r"^/[^\x00-\x1f\x7f]*$", max_length=400)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
_Seconds = Annotated[int, Field(strict=True, ge=1, le=86_400)]

Model = TypeVar("Model", bound=Frozen)


class SignallingConfig(Frozen):
    """What signalling can be told; see `roamvpn.signalling.settings`. Times in seconds."""

    order: Order = Order.MAKE_BEFORE_BREAK
    max_lifetime: Annotated[int, Field(strict=True, ge=10, le=65_534)] = 1800
    hand_off: _Seconds = 10
    request_timeout: _Seconds = 8
    ba_timeout: _Seconds = 3
    retry_first: _Seconds = 1
    retry_last: _Seconds = 30
    br_threshold: _Seconds = 60
    authorization: _Seconds = 3600
    remember: _Seconds = 300

    def settings(self) -> Settings:
        """As machines take them."""
        return Settings(**{name: getattr(self, name) for name in Settings._fields})


def read_config(path: Path, model: type[Model], *, secret: bool = False) -> Model:
    """One YAML file as a model.

    Raises:
        InputError: with file, line, field and value of everything that does not hold; values of a `secret` file are
            not told, and one that others may read is refused.
    """
    source = Source(str(path), _text(path, secret=secret))
    data = source.parse()
    try:
        return model.model_validate(data if data is not None else {})
    except ValidationError as error:
        raise InputError(source.problems(error, hide_values=secret)) from None


def _text(path: Path, *, secret: bool) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if secret and mode & 0o077:
                message = f"others may read it (mode {mode:04o}, must be 0600)"
                raise InputError([Problem(str(path), 0, "", "", message)])
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise RoamvpnError(f"{path}: {error.strerror}") from None
    try:
        return raw[:_MAX_BYTES].decode() if len(raw) <= _MAX_BYTES else "\x00"
    except UnicodeDecodeError:
        raise InputError([Problem(str(path), 0, "", "", "is not UTF-8 text")]) from None
