"""The kernel's side of a gateway: run `ip` and `tc`, list what is ours, bring it to what is wanted."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, cast

from roamvpn.gateway import objects
from roamvpn.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from roamvpn.gateway.objects import Json, Objects
    from roamvpn.gateway.units import Command

_TIMEOUT = 120
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def run(argv: Sequence[str], stdin: str | None = None, step: str = "kernel") -> str:
    """Run a program of the system; raises GatewayError with what it said."""
    try:
        done = subprocess.run(  # noqa: S603 - a list of words, made here
            list(argv), input=stdin, capture_output=True, text=True, check=False, timeout=_TIMEOUT, env=_ENVIRONMENT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GatewayError(step, f"{argv[0]}: {error}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise GatewayError(step, f"{' '.join(argv[:4])}: {'; '.join(said[:3]) or f'exit {done.returncode}'}")
    return done.stdout


def live() -> Objects:
    """Every object of ours that the kernel has now, as it shows it."""
    found: Objects = {}
    found |= objects.links(_json("ip", "-j", "-d", "link", "show"))
    found |= objects.rules(_json("ip", "-j", "rule", "show"))
    found |= objects.routes(_json("ip", "-j", "-d", "-4", "route", "show", "table", "all"))
    qdiscs = objects.qdiscs(_json("tc", "-j", "qdisc", "show"))
    found |= qdiscs
    for name in qdiscs:
        _kind, device, *place = name.split()
        if place == ["root"]:
            found |= objects.classes(device, run(["tc", "class", "show", "dev", device]))
            listed = _json("tc", "-j", "filter", "show", "dev", device, "parent", "1:")
            found |= objects.filters(f"dev {device}", listed)
    for block in {attributes["ingress_block"] for attributes in qdiscs.values() if "ingress_block" in attributes}:
        found |= objects.filters(f"block {block}", _json("tc", "-j", "filter", "show", "block", str(block)))
    found |= objects.policies(run(["ip", "xfrm", "policy", "list"]))
    found |= objects.states(run(["ip", "xfrm", "state", "list", "nokeys"]))
    return found


def batch(commands: Iterable[Command]) -> None:
    """Run lines in order, a process for each run of lines of one tool; raises GatewayError naming the line.

    Lines may hold keys, so an error tells the object and not the line.
    """
    group: list[Command] = []
    for command in (*commands, None):
        if group and (command is None or command.tool != group[0].tool):
            _run_batch(group)
            group = []
        if command is not None:
            group.append(command)


def _run_batch(group: list[Command]) -> None:
    tool = group[0].tool
    text = "".join(f"{command.line}\n" for command in group)
    done = subprocess.run(  # noqa: S603 - ip or tc, lines on standard input
        [tool, "-batch", "-"], input=text, capture_output=True, text=True, check=False, timeout=_TIMEOUT,
        env=_ENVIRONMENT,
    )  # fmt: skip
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if not done.returncode and not said:
        return
    where = next((line for line in said if line.startswith("Command failed")), "")
    number = where.rpartition(":")[2]
    name = ""
    if number.isdigit() and 0 < int(number) <= len(group):
        command = group[int(number) - 1]
        name = f"{objects.of_line(command.tool, command.line)}: "
    said = [line for line in said if line != where]
    raise GatewayError("kernel", f"{tool}: {name}{'; '.join(said[:3]) or 'failed'}")


def grouped(commands: Iterable[Command]) -> dict[str, list[Command]]:
    """Lines by the object that they make, in their order."""
    found: dict[str, list[Command]] = {}
    for command in commands:
        found.setdefault(objects.of_line(command.tool, command.line), []).append(command)
    return found


def _json(*argv: str) -> list[Json]:
    text = run(argv)
    return cast("list[Json]", json.loads(text)) if text.strip() else []
