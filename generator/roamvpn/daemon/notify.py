"""What systemd wants to hear of a daemon (sd_notify(3)); without systemd nothing happens."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

LISTEN_FDS_START = 3
"""The first socket that systemd passes (sd_listen_fds(3))."""


def notify(*lines: str) -> None:
    """`READY=1`, `STOPPING=1`, `RELOADING=1`, `STATUS=…`."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto("\n".join(lines).encode(), address)


def passed_sockets() -> dict[str, socket.socket]:
    """Sockets that systemd opened for this process, by their names; taken once."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    found = {}
    for index in range(count):
        taken = socket.socket(fileno=LISTEN_FDS_START + index)
        taken.setblocking(False)  # noqa: FBT003 - the standard library's own argument
        os.set_inheritable(taken.fileno(), False)  # noqa: FBT003
        found[names[index] if index < len(names) and names[index] else str(index)] = taken
    return found
