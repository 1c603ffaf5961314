"""Table entries as JSON, for stores: what a node keeps over a restart.

Encoders and decoders are made once from the entries' annotations. Contributions are left out, as they follow from
the rest. Keys stand in the text, so a store is as secret as a secrets file.
"""

from __future__ import annotations

import json
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from roamvpn.policy import information as _information
from roamvpn.policy.information import VpnInformation
from roamvpn.policy.legs import Contribution
from roamvpn.policy.paths import Segment
from roamvpn.signalling import messages as _messages
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.secrets import ProfileKeys, Secret
from roamvpn.tables.types import Prefix

Codec = "tuple[Callable[[Any], Any], Callable[[Any], Any]]"


def encode(entry: tuple[object, ...]) -> str:
    """One entry as a line of JSON."""
    return json.dumps(_codec(type(entry))[0](entry), separators=(",", ":"))


def decode(kind: type[Any], text: str) -> Any:  # noqa: ANN401 - an entry of the kind that is asked for
    """The entry; raises RoamvpnError where the text is none."""
    try:
        return _codec(kind)[1](json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        # never the text itself: it holds keys
        raise RoamvpnError(f"a stored {kind.__name__} cannot be read ({type(error).__name__})") from None


@cache
def _codec(kind: Any) -> Any:  # noqa: ANN401 - one return for each kind of annotation
    """(to JSON, from JSON) of an annotation."""
    if kind in (int, str, bool):
        return _same, _same
    if kind is ProfileKeys:
        return _keys_out, _keys_in
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        (inner,) = (each for each in get_args(kind) if each is not NoneType)
        out, back = _codec(inner)
        return (lambda v: None if v is None else out(v)), (lambda v: None if v is None else back(v))
    if origin is tuple:
        arguments = get_args(kind)
        if arguments[-1] is Ellipsis:
            if arguments[0] is Contribution:
                return (lambda _: 0), (lambda _: ())
            out, back = _codec(arguments[0])
            return (lambda v: [out(e) for e in v]), (lambda v: tuple([back(e) for e in v]))
        pairs = [_codec(each) for each in arguments]
        return (
            lambda v: [out(e) for (out, _), e in zip(pairs, v, strict=True)],
            lambda v: tuple(back(e) for (_, back), e in zip(pairs, v, strict=True)),
        )
    if isinstance(kind, type) and issubclass(kind, Enum):
        members = {member.value: member for member in kind}
        return (lambda v: v.value), members.__getitem__
    return _row(kind)


def _row(kind: Any) -> Any:  # noqa: ANN401
    """A named tuple: its fields in order."""
    hints = get_type_hints(kind, localns=_NAMES)
    pairs = [_codec(hints[name]) for name in kind._fields]
    plain = [index for index, (out, _) in enumerate(pairs) if out is not _same]
    backs = [back for _, back in pairs]
    make = kind._make
    count = len(pairs)

    def out(value: Any) -> list[Any]:  # noqa: ANN401
        row = list(value)
        for index in plain:
            row[index] = pairs[index][0](row[index])
        return row

    def back(row: Any) -> Any:  # noqa: ANN401
        if len(row) != count:
            raise ValueError("another number of fields")
        for index in plain:
            row[index] = backs[index](row[index])
        return make(row)

    return out, back


def _same(value: Any) -> Any:  # noqa: ANN401
    return value


def _keys_out(keys: ProfileKeys) -> list[str | None]:
    return [None if key is None else key.hex() for key in _parts(keys)]


def _keys_in(parts: list[str | None]) -> ProfileKeys:
    return ProfileKeys(*(None if part is None else Secret(bytes.fromhex(part)) for part in parts))


def _parts(keys: ProfileKeys) -> tuple[Secret | None, ...]:
    return (
        keys.psk,
        keys.up_esp_encryption,
        keys.down_esp_encryption,
        keys.up_authentication,
        keys.down_authentication,
    )


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
