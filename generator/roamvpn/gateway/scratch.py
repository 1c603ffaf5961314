"""Try a generation where it can do no harm: a network namespace of its own and a charon of its own.

What the kernel then shows is kept with the generation: it is what a live gateway must show.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from roamvpn.gateway import charon, kernel, objects, units
from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.vici import Vici

if TYPE_CHECKING:
    from roamvpn.gateway.objects import Objects

_DAEMON = "/usr/sbin/charon-systemd"
_WAIT = 20.0


def try_out(program: list[str], generation: Path, credentials: Path) -> Objects:
    """Run `program try-out` in a fresh network namespace; returns the objects that the generation makes there."""
    argv = ["unshare", "--net", "--", *program, "try-out", str(generation), str(credentials)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603 - ourselves
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GatewayError("validate", str(error)) from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise GatewayError("validate", (done.stderr or done.stdout).strip()[-500:] or "no answer") from None
    if "error" in answer:
        raise GatewayError("validate", str(answer["error"]))
    found: Objects = answer["objects"]
    return found


def inside(generation: Path, credentials: Path) -> int:
    """What `try-out` does, already within the namespace; prints JSON."""
    try:
        wanted = units.read(generation)
        answer: dict[str, object] = {"objects": _kernel(wanted)}
        _charon(generation, credentials, wanted)
    except GatewayError as error:
        answer = {"error": f"{error.message}"}
    sys.stdout.write(json.dumps(answer))
    return 0


def _kernel(wanted: units.Wanted) -> Objects:
    commands = [*wanted.devices, *wanted.legs]
    grouped = kernel.grouped(commands)
    kernel.run(["ip", "link", "set", "lo", "up"])
    for device in sorted(objects.devices((command.tool, command.line) for command in commands)):
        kernel.run(["ip", "link", "add", device, "type", "dummy"])
        kernel.run(["ip", "link", "set", device, "up"])
    kernel.batch(commands)
    found = kernel.live()
    missing = sorted(set(grouped) - set(found))
    if missing:
        raise GatewayError("validate", f"{missing[0]} is not there after its line was run")
    return found


def _charon(generation: Path, credentials: Path, wanted: units.Wanted) -> None:
    with tempfile.TemporaryDirectory(prefix="roamvpn-") as directory:
        home = Path(directory)
        vici = home / "vici"
        settings = home / "strongswan.conf"
        settings.write_text(
            f"include {generation}/base/strongswan.conf\n"
            "charon-systemd {\n port = 0\n port_nat_t = 0\n journal { default = -1 }\n"
            f" plugins {{ vici {{ socket = unix://{vici} }} }}\n}}\n"
        )
        process = subprocess.Popen(  # noqa: S603 - charon, without arguments
            [_DAEMON], env={**os.environ, "STRONGSWAN_CONF": str(settings)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _await(process, vici)
            _load(vici, home, credentials, wanted)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: subprocess.Popen[bytes], vici: Path) -> None:
    """Wait for the socket: its directory is watched, and so is the process."""
    ended = os.pidfd_open(process.pid)
    try:
        waited = 0.0
        while not _answers(vici):
            # nothing announces a socket that listens; the end of the process is told at once
            if select.select([ended], [], [], 0.01)[0]:
                raise GatewayError("validate", f"charon ends with {process.wait()}; see its settings")
            waited += 0.01
            if waited > _WAIT:
                raise GatewayError("validate", "charon does not start")
    finally:
        os.close(ended)


def _answers(vici: Path) -> bool:
    if not vici.exists():
        return False
    try:
        Vici(str(vici)).__exit__(None, None, None)
    except GatewayError:
        return False
    return True


def _load(vici: Path, home: Path, credentials: Path, wanted: units.Wanted) -> None:
    with Vici(str(vici)) as connection:
        scratch = charon.Charon(connection, credentials, home / "note")
        scratch.load_credentials()
        for name, tree in sorted(wanted.secrets.items()):
            scratch.load("load-shared", name, charon.shared(name, tree))
        for name, tree in sorted(wanted.connections.items()):
            scratch.load("load-conn", name, charon.connection(tree, credentials))
        missing = sorted(set(wanted.connections) - scratch.connections())
        if missing:
            raise GatewayError("validate", f"charon does not list {missing[0]}")
