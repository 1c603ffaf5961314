"""Table entries as JSON, for stores: what a node keeps over a restart.

Encoders and decoders are made once from the entries' annotations. Contributions are left out, as they follow from
the rest. Keys stand in the text, so a store is as secret as a secrets file.
"""

from __future__ import annotations

import json
import sys
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from roamvpn.policy import information as _information
from roamvpn.policy.information import VpnInformation
from roamvpn.policy.legs import Contribution
from roamvpn.policy.paths import Segment
from roamvpn.signalling import messages as _messages
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.secrets import ProfileKeys, Secret
from roamvpn.tables.types import Prefix

if TYPE_CHECKING:
    from collections.abc import Callable


class _Codec(NamedTuple):
    """To JSON, from JSON, and of which types what the JSON holds may be; `same`: it needs no change either way."""

    out: Callable[[Any], Any]
    back: Callable[[Any], Any]
    types: frozenset[type]
    same: bool = False


# made once: json.dumps makes one each time
_text = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode(entry: tuple[object, ...]) -> str:
    """One entry as a line of JSON."""
    return _text(_codec(type(entry)).out(entry))


def decode(kind: type[Any], text: str) -> Any:  # noqa: ANN401 - an entry of the kind that is asked for
    """The entry; raises RoamvpnError where the text is none."""
    try:
        row = json.loads(text)
        if type(row) is not list:
            raise TypeError  # noqa: TRY301 - one error for all that may be wrong
        return _codec(kind).back(row)  # type: ignore[arg-type] # a type is hashable
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        # never the text itself: it holds keys
        raise RoamvpnError(f"a stored {kind.__name__} cannot be read ({type(error).__name__})") from None


@cache
def _codec(kind: Any) -> _Codec:  # noqa: ANN401 - an annotation may be anything
    """That of an annotation; rows check what they are given, and so does the top."""
    if kind in (int, bool):
        return _Codec(_same, _same, frozenset({kind}), same=True)
    if kind is bytes:
        return _Codec(bytes.hex, bytes.fromhex, frozenset({str}))
    if kind is str:
        # names of gateways, domains and users come again and again
        return _Codec(_same, sys.intern, frozenset({str}))
    if kind is ProfileKeys:
        return _Codec(_keys_out, _keys_in, frozenset({list}))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (inner,) = (_codec(each) for each in arguments if each is not NoneType)
        return _optional(inner)
    if origin is tuple:
        return _many(arguments[0]) if arguments[-1] is Ellipsis else _row(tuple, list(arguments))
    if isinstance(kind, type) and issubclass(kind, Enum):
        members = {member.value: member for member in kind}
        types = frozenset(type(value) for value in members)
        return _Codec(lambda member: member.value, members.__getitem__, types)
    hints = get_type_hints(kind, localns=_NAMES)
    return _row(kind, [hints[name] for name in kind._fields])


def _optional(inner: _Codec) -> _Codec:
    out, back = inner.out, inner.back
    types = inner.types | {NoneType}
    if inner.same:
        return _Codec(_same, _same, types, same=True)
    return _Codec(lambda v: None if v is None else out(v), lambda v: None if v is None else back(v), types)


def _many(kind: Any) -> _Codec:  # noqa: ANN401
    if kind is Contribution:
        return _Codec(lambda _: 0, lambda _: (), frozenset({int}))
    out, back, types, _ = _codec(kind)

    def read(values: Any) -> tuple[Any, ...]:  # noqa: ANN401
        for value in values:
            if type(value) not in types:
                raise TypeError
        return tuple([back(value) for value in values])

    return _Codec(lambda values: [out(value) for value in values], read, frozenset({list}))


def _row(kind: type[tuple[Any, ...]], hints: list[Any]) -> _Codec:
    """A tuple, by its fields in order; a named one is made without its constructor, which is several times as slow."""
    codecs = [_codec(hint) for hint in hints]
    outs = [(index, each.out) for index, each in enumerate(codecs) if each.out is not _same]
    backs = [(index, each.back) for index, each in enumerate(codecs) if not each.same]
    # rows come in few shapes, so each is checked once
    known: set[tuple[type, ...]] = set()
    make = tuple.__new__

    def write(value: tuple[Any, ...]) -> list[Any]:
        row = list(value)
        for index, out in outs:
            row[index] = out(row[index])
        return row

    def read(row: Any) -> Any:  # noqa: ANN401
        shape = tuple(map(type, row))
        if shape not in known:
            if len(shape) != len(codecs) or any(
                found not in each.types for found, each in zip(shape, codecs, strict=True)
            ):
                raise TypeError
            known.add(shape)
        for index, back in backs:
            row[index] = back(row[index])
        return make(kind, row)

    return _Codec(write, read, frozenset({list}))


def _same(value: Any) -> Any:  # noqa: ANN401
    return value


def _keys_out(keys: ProfileKeys) -> list[str | None]:
    return [None if key is None else key.hex() for key in keys]


def _keys_in(parts: list[str | None]) -> ProfileKeys:
    return ProfileKeys(*[None if part is None else Secret(bytes.fromhex(part)) for part in parts])


# annotations that stand under TYPE_CHECKING in the modules of the entries
_NAMES = {
    **{name: getattr(_messages, name) for name in dir(_messages) if name[0].isupper()},
    **{name: getattr(_information, name) for name in dir(_information) if name[0].isupper()},
    "VpnInformation": VpnInformation,
    "Contribution": Contribution,
    "Segment": Segment,
    "ProfileKeys": ProfileKeys,
    "Prefix": Prefix,
}
