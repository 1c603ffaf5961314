"""What a gateway has beside its generations: charon and swanctl read the current one, and what is not needed is off."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from roamvpn.gateway.kernel import run

if TYPE_CHECKING:
    from pathlib import Path

START = "var/lib/roamvpn/start.conf"
HARDENING = "etc/sysctl.d/60-roamvpn.conf"
_FILES = {
    "etc/strongswan.d/roamvpn.conf": """\
# Brought by roamvpn: charon's settings come with the current generation, the first time with what starts it.
include /var/lib/roamvpn/start.conf
include /var/lib/roamvpn/current/base/strongswan.conf
charon-systemd {
  # whatever starts charon again, its connections and the kernel's side of them come back
  start-scripts {
    roamvpn = /usr/local/sbin/roamvpn-gateway --holder charon boot
  }
}
""",
    "etc/swanctl/conf.d/roamvpn.conf": """\
# Brought by roamvpn: `swanctl --load-all` forgets whatever it does not find in files.
include /var/lib/roamvpn/current/*/*/*.conf
""",
}
_HARDENING = """\
# Brought by roamvpn: what a security gateway does not need is off. Forwarding and the settings of single interfaces
# come with each generation.
net.ipv4.conf.all.accept_source_route = 0
net.ipv4.conf.default.accept_source_route = 0
net.ipv4.conf.all.accept_redirects = 0
net.ipv4.conf.default.accept_redirects = 0
net.ipv4.conf.all.secure_redirects = 0
net.ipv4.icmp_echo_ignore_broadcasts = 1
net.ipv4.icmp_ignore_bogus_error_responses = 1
net.ipv4.tcp_syncookies = 1
kernel.kptr_restrict = 1
kernel.dmesg_restrict = 1
"""


def setup(root: Path, start: str, *, hardening: bool, check: bool) -> list[str]:
    """Write the files that differ, below `root`; returns their paths.

    `start` has charon's settings for its first start. It is written once: later ones come with generations.
    """
    wanted = dict(_FILES) | ({HARDENING: _HARDENING} if hardening else {})
    if not (root / START).exists():
        wanted[START] = start
    changed = []
    for name, text in sorted(wanted.items()):
        path = root / name
        if path.is_file() and path.read_text(errors="replace") == text:
            continue
        changed.append(f"/{name}")
        if not check:
            _write(path, text)
    if HARDENING in wanted and f"/{HARDENING}" in changed and not check and root.samefile("/"):
        # not every kernel has each of them
        run(["sysctl", "--quiet", "--ignore", "--load", f"/{HARDENING}"])
    return changed


def remove(root: Path) -> list[str]:
    """Take these files away; returns the paths of those that were there."""
    gone = [name for name in sorted((*_FILES, HARDENING, START)) if (root / name).exists()]
    for name in gone:
        (root / name).unlink()
    return [f"/{name}" for name in gone]


def differing(root: Path) -> list[str]:
    """Paths of files that do not stand as they were brought."""
    return [
        f"/{name}"
        for name, text in sorted(_FILES.items())
        if not (root / name).is_file() or (root / name).read_text(errors="replace") != text
    ]


def _write(path: Path, text: str) -> None:
    closed = path.parent.name == "roamvpn"
    path.parent.mkdir(mode=0o700 if closed else 0o755, parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
    staged.replace(path)
