"""Hosts of the lab: sshd, charon and an own /etc, /var, /run, /root and /usr/local each, in network namespaces.

A host can do what a freshly installed Debian can, as far as a playbook sees; only the kernel is shared.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.lab.guest.network import inside, run

HOME = Path("/run/lab/hosts")
_HERE = Path(__file__).resolve().parent


class Host:
    """A host in the network namespace of its name."""

    def __init__(self, name: str, home: Path = HOME) -> None:
        self.name = name
        self.keys = home / "keys"
        self.base = home / name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its first process, sshd, as this machine counts."""
        return int((self.base / "pid").read_text())

    def start(self) -> Self:
        """Start it with empty directories, and wait until its sshd listens."""
        make_keys(self.keys)
        run("rm", "-rf", str(self.base))
        self.base.mkdir(parents=True)
        log = (self.base / "log").open("wb")
        self._process = subprocess.Popen(
            [
                *(
                    "nsenter",
                    f"--net=/run/netns/{self.name}",
                    "unshare",
                    "--mount",
                    "--pid",
                    "--uts",
                    "--ipc",
                    "--fork",
                ),
                *("--kill-child", "--", str(_HERE / "host-init"), self.name, str(self.base)),
            ],
            env={**os.environ, "LAB_KEYS": str(self.keys), "LAB_CHECKOUT": str(_HERE.parents[2])},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self._await_sshd()
        return self

    def _await_sshd(self) -> None:
        """sshd says when it listens; its end is seen, too."""
        assert self._process is not None
        while "Server listening" not in self.log():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} does not start: {self.log()}")
            os.sched_yield()

    def log(self) -> str:
        """What its first process said."""
        return (self.base / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Pull the plug."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def wipe(self) -> None:
        """What another machine would not have: all that was set up in this one's network namespace."""
        links = json.loads(inside(self.name, "ip", "-j", "link", "show"))
        for name in (row["ifname"] for row in links if row["ifname"].startswith("rv-")):
            inside(self.name, "ip", "link", "delete", name)
        for kind in ("state", "policy"):
            inside(self.name, "ip", "xfrm", kind, "flush")
        for pref in ("10000", "20000"):
            while not inside(self.name, "ip", "rule", "delete", "pref", pref, check=False):
                pass
        routes = inside(self.name, "ip", "route", "show", "table", "all")
        for table in set(re.findall(r"table (\d{6})", routes)):
            inside(self.name, "ip", "route", "flush", "table", table)
        for place in ("root", "clsact"):
            for device in ("wan", "lan"):
                inside(self.name, "tc", "qdisc", "delete", "dev", device, place, check=False)

    def run(self, *argv: str, stdin: str | None = None, check: bool = True) -> str:
        """Run a program there, as on its console."""
        return run("nsenter", "-t", str(self.pid), "--all", "--wd=/", "--", *argv, stdin=stdin, check=check)

    def read(self, path: str) -> str:
        """A file there."""
        return self.run("cat", path)

    def swanctl(self, *arguments: str) -> str:
        """What swanctl prints there."""
        return self.run("swanctl", *arguments, check=False)

    def initiate(self, child: str) -> None:
        """Bring up one association."""
        said = self.swanctl("--initiate", "--child", child, "--timeout", "10")
        if "completed successfully" not in said:
            raise RuntimeError(f"{self.name}: {child}: {said}\n{self.run('tail', '-n', '30', '/var/log/charon.log')}")

    def gateway(self, *arguments: str, check: bool = True) -> str:
        """`roamvpn-gateway` there."""
        return self.run("/usr/local/sbin/roamvpn-gateway", *arguments, check=check)


def make_keys(directory: Path) -> None:
    """A key of the controller and one of the hosts, for this run only."""
    if directory.exists():
        return
    directory.mkdir(parents=True, mode=0o700)
    for name in ("controller", "host"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / name))
