"""Unpredictable bytes from the kernel, for what daemons draw."""

from __future__ import annotations

import secrets


def system_entropy(purpose: str, length: int) -> bytes:  # noqa: ARG001 - the kernel's bytes are new for each purpose
    """As `roamvpn.policy.keys.Entropy` asks."""
    return secrets.token_bytes(length)
