"""The error of whatever came from a wire and is not what it should be."""

from __future__ import annotations

from roamvpn.tables.problems import RoamvpnError


class WireError(RoamvpnError):
    """One sentence. `code` is what a mobile is told of it (RFC 5944 section 3.4).

    `answer` is the reply to send, if any.
    """

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.answer = b""
