"""Secrets in diffs: every key becomes a keyed fingerprint, so that a rotated key shows as one changed line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from roamvpn.policy.keys import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

# whatever a secrets file assigns, and any run of hexadecimal digits long enough to be a key
_SECRET_VALUE = re.compile(r'(\bsecret\s*=\s*)("(?:[^"\\]|\\.)*"|[^\s#}]+)')
_HEX_KEY = re.compile(r"\b0x[0-9a-fA-F]{32,}\b")


def masker(key: bytes | None) -> Callable[[str], str]:
    """A function that masks a text; without a key it hides secrets and does not tell them apart."""

    def mask(value: str) -> str:
        if key is None:
            return "<secret>"
        return f"<secret {fingerprint(key, value.strip(chr(34)).lower().encode())}>"

    def apply(text: str) -> str:
        text = _SECRET_VALUE.sub(lambda match: match[1] + mask(match[2]), text)
        return _HEX_KEY.sub(lambda match: mask(match[0]), text)

    return apply
