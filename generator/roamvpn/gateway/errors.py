"""The one error of the program on a gateway."""

from __future__ import annotations


class GatewayError(Exception):
    """Something did not work; `step` names where, so that a report can say what stands and what does not."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        self.message = message
