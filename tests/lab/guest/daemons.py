"""The daemons of the live lab: agents on the gateways' hosts, AAA servers, mobiles; started, asked, stopped by pid."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roamvpn.provision.agents import agent_files, mobile_keys
from roamvpn.stores.tree import create
from tests.lab.guest.network import GATEWAYS, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.tables.site import Site
    from tests.lab.guest.hosts import Host

_CHECKOUT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(_CHECKOUT / "generator"), "LC_ALL": "C.UTF-8"}
ROAMVPN = (sys.executable, "-m", "roamvpn")
AGENTS = tuple(name for name in GATEWAYS if name != "gw51")


class Daemon:
    """A process of the lab, and the lines that it writes."""

    def __init__(self, name: str, log: Path, *argv: str) -> None:
        self.name = name
        self.log = log
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `ready` tells when it serves."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, env=ENVIRONMENT, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """It, once it was started."""
        assert self._process is not None
        return self._process

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait until it has ended."""
        if self._process is not None and self._process.poll() is None:
            for pid in (*_children(self._process.pid), self._process.pid):
                os.kill(pid, how)
            self._process.wait(20)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, to itself and not to what wraps it."""
        process = self.process
        for pid in _children(process.pid) or [process.pid]:
            os.kill(pid, number)

    def text(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")


def _children(pid: int) -> list[int]:
    """What a wrapper such as nsenter has started: signals must come to the daemon itself."""
    found = run("ps", "-o", "pid=", "--ppid", str(pid), check=False).split()
    return [int(each) for each in found]


def until(what: str, holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for what another process does, where nothing tells of it."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {seconds} s still not: {what}")
        time.sleep(0.02)


class Agent(Daemon):
    """`roamvpn agent` on a host."""

    def __init__(self, host: Host, site: Site, log: Path, **settings: object) -> None:
        inside = ("nsenter", "-t", str(host.pid), "--all", "--wd=/", "--")
        super().__init__(host.name, log, *inside, *ROAMVPN, "agent")
        self.host = host
        place = host.base / "etc.up/roamvpn"
        host.run("mkdir", "-p", "-m", "700", "/etc/roamvpn")
        for name, file in agent_files(site, host.name, **settings).items():
            (place / name).unlink(missing_ok=True)
            create(place / name, file.text.encode(), 0o600 if file.secret else 0o644)

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        said = self.host.run(
            "curl", "-s", "--max-time", "5", "--unix-socket", "/run/roamvpn/hook.sock", "http://agent/v1/status"
        )
        found: dict[str, Any] = json.loads(said)
        return found

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.status()["node"] == self.name)
        except (RuntimeError, ValueError):
            return False


class Terminal:
    """`roamvpn mn run` in a mobile's namespace: commands in, events out, as lines of JSON."""

    def __init__(self, name: str, nai: str, home: str, site: Site, work: Path) -> None:
        self.nai = nai
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = work / f"{name}.keys.yml"
        create(keys, mobile_keys(site, nai).text.encode(), 0o600)
        user = site.tables.subscribers[nai]
        agent = GATEWAYS[user.home_agent][0]
        self._process = subprocess.Popen(
            [
                *("ip", "netns", "exec", name, *ROAMVPN, "mn", "run", "--json"),
                *("--nai", nai, "--home-address", home, "--home-agent", agent, "--keys", str(keys)),
            ],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(work / f"{name}.log").open("ab"),
            text=True,
        )
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.put(json.loads(line))

    def ask(self, **command: object) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def forget(self) -> None:
        """Pass over what has happened until now, such as refreshes."""
        while not self.events.empty():
            self.events.get_nowait()

    def await_event(self, name: str, seconds: float = 20.0, agent: str | None = None) -> dict[str, Any]:
        """The next event of that name, at that agent if one is named; others are passed over."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                event = self.events.get(timeout=left)
            except queue.Empty:
                break
            if event.get("event") == name and agent in (None, event.get("agent")):
                return event
        raise RuntimeError(f"{self.nai}: no {name} within {seconds} s")

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)
