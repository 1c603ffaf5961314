"""Bare hosts to running gateways without Ansible: the same staged generations, the same program, none of the wait.

What playbooks make of hosts is shown elsewhere; here it is only needed to have happened.
"""

from __future__ import annotations

import base64
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from roamvpn.provision.control import Control
from roamvpn.provision.deliver import Delivery, answered, associated, certificate, generation
from roamvpn.provision.fleet import Request, stage_fleet
from roamvpn.stores.program import gateway_program

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.provision.deliver import Answer
    from tests.lab.guest.hosts import Host

_PROGRAM = "/usr/local/sbin/roamvpn-gateway"
_AT_ONCE = 3


def provision(directory: Path, hosts: dict[str, Host]) -> None:
    """Plan and stage a site, then bring every host to its generation. Raises RoamvpnError, RuntimeError."""
    control = Control.of(directory, datetime.now(UTC))
    control.state.prepare()
    for name in hosts:
        # bare: nothing is known of it, and it runs nothing
        control.state.keep(name, generation=None)
    stage_fleet(control, Request(tuple(hosts)))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: _based(control, hosts[name]), hosts))
    for name, host in hosts.items():
        generation(control, name, Delivery("lab", confirm=60), Caller(host), lambda: None)
    for name, host in hosts.items():
        associated(control, name, [], Caller(host))


def _based(control: Control, host: Host) -> None:
    _inside(host, "sh", "-c", f"cat > {_PROGRAM} && chmod 755 {_PROGRAM}", stdin=gateway_program())
    settings = control.state.staged / host.name / "base/strongswan.conf"
    start = base64.b64encode(settings.read_bytes()).decode()
    call = Caller(host)
    answered(host.name, call("setup", stdin=start))
    host.run("service", "strongswan", "restart")
    certificate(control, host.name, call)


class Caller:
    """Runs the program on a host, as the connection plugin of a playbook would."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __call__(self, *arguments: str, stdin: str = "") -> Answer:
        said = _inside(self._host, _PROGRAM, *arguments, stdin=base64.b64decode(stdin))
        found: Answer = json.loads(said)
        return found


def _inside(host: Host, *argv: str, stdin: bytes) -> bytes:
    done = subprocess.run(
        ["nsenter", "-t", str(host.pid), "--all", "--wd=/", "--", *argv],
        input=stdin,
        capture_output=True,
        check=False,
    )
    if done.returncode and not done.stdout:
        raise RuntimeError(f"{host.name}: {argv[:3]}: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout
