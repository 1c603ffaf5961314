"""Network namespaces for real daemons: made, entered, and gone with the process that holds them."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def namespace() -> Iterator[int]:
    """A network namespace, by the number of the process that holds it."""
    holder = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"up\n"
        yield holder.pid
    finally:
        holder.communicate()


def inside(pid: int, *command: str) -> str:
    """Run a command there; what it prints."""
    return subprocess.run(
        ["nsenter", "-t", str(pid), "-n", *command], check=True, capture_output=True, text=True, timeout=30
    ).stdout
