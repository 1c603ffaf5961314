"""A real charon, alone in a network namespace."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def charon(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A charon of its own in a network namespace of its own; yields the environment that swanctl needs."""
    vici = tmp_path / "vici"
    settings = tmp_path / "strongswan.conf"
    settings.write_text(
        "charon-systemd {\n load = random nonce aes sha1 sha2 hmac kdf gcm openssl curve25519 kernel-netlink"
        f" socket-default vici\n port = 0\n port_nat_t = 0\n install_routes = no\n plugins {{ vici {{ socket ="
        f" unix://{vici} }} }}\n journal {{ default = -1 }}\n}}\nswanctl {{\n socket = unix://{vici}\n}}\n"
    )
    environment = {**os.environ, "STRONGSWAN_CONF": str(settings), "SWANCTL_DIR": str(tmp_path)}
    daemon = subprocess.Popen(
        ["unshare", "-n", "/usr/sbin/charon-systemd"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(str(vici))
        yield environment
    finally:
        daemon.terminate()
        daemon.wait(10)


def _wait(path: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                time.sleep(0.005)  # nothing announces a socket that is not there yet
            else:
                return
    raise TimeoutError(path)
