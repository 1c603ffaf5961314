"""`roamvpn hook`: one event to the agent of this gateway, by hand or from a program."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roamvpn.agent.events import MAX_BYTES, EventSource, EventType, event_of, identification, parse_event
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET = Path("/run/roamvpn/hook.sock")
AGENT_NAME = Path("/etc/roamvpn/agent-name")
_TIMEOUT = 10.0


class OverUnix(http.client.HTTPConnection):
    """HTTP to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("roamvpn", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connect to the path in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(str(self._path))


def post(path: Path, body: bytes) -> tuple[int, dict[str, Any]]:
    """Hand one event to the agent: the status and the reply. Raises RoamvpnError where no agent answers."""
    return asked(path, "POST", "/v1/events", body, 1 << 20)


def asked(path: Path, method: str, url: str, body: bytes | None, limit: int) -> tuple[int, dict[str, Any]]:
    """One request to the agent: its status, and the object of at most `limit` bytes. Raises RoamvpnError."""
    connection = OverUnix(path)
    try:
        connection.request(method, url, body, {"Content-Type": "application/json"} if body is not None else {})
        answer = connection.getresponse()
        reply = json.loads(answer.read(limit))
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its answer is not to be understood"
        raise RoamvpnError(f"{path}: the agent does not answer: {reason}") from None
    finally:
        connection.close()
    if not isinstance(reply, dict):
        raise RoamvpnError(f"{path}: the agent does not answer: its answer is not to be understood")
    return answer.status, reply


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        [
            click.option("--nai", metavar="USER@REALM", help="Who."),
            click.option("--home-address", metavar="ADDRESS", help="His home address."),
            click.option("--previous-gateway", metavar="GATEWAY", help="Where he was until now."),
            click.option("--session", metavar="ID", help="The access network's own session."),
            click.option("--lifetime", type=int, default=1800, show_default=True, metavar="S", help="In seconds."),
            click.option("--agent", metavar="GATEWAY", help=f"This gateway; else what {AGENT_NAME} names."),
            click.option("--event-id", metavar="ID", help="The same id again is taken for the same event."),
            click.option("--seq", type=int, metavar="N", help="Orders a user's events; the time if left out."),
            click.option("--json", "from_stdin", is_flag=True, help="Read the whole event from standard input."),
            click.option(
                "--socket",
                "path",
                type=click.Path(path_type=Path),
                default=SOCKET,
                show_default=True,
                metavar="PATH",
                help="The agent's hook.",
            ),
        ]
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def hook() -> None:
    """Tell the agent of this gateway that a user came, stays, left, or wants other VPNs.

    Exits 0 when the agent has the event, or had it already; 1 otherwise. The reply is printed as JSON.
    """


def _command(kind: EventType, text: str) -> None:
    @hook.command(kind.replace("_", "-"), help=text)
    @_options
    def run(*, path: Path, from_stdin: bool, **given: Any) -> None:  # noqa: ANN401 - the options above
        _deliver(path, _from_stdin(kind) if from_stdin else _from_options(kind, given))


_command(EventType.REGISTER, "A user is at this gateway now.")
_command(EventType.REFRESH, "A user is still at this gateway.")
_command(EventType.DEREGISTER, "A user has left.")
_command(EventType.SERVICE_UPDATE, "A user's VPN records have changed: look them up again.")


def _from_stdin(kind: EventType) -> bytes:
    event = parse_event(sys.stdin.buffer.read(MAX_BYTES + 1))
    if event.type is not kind:
        raise RoamvpnError(f"the event is of type {event.type}, not {kind}")
    return event.encoded()


def _from_options(kind: EventType, given: dict[str, Any]) -> bytes:
    now = time.time_ns()
    seconds, nanoseconds = divmod(now, 10**9)
    agent = given["agent"] or _agent_name()
    fields = {
        "v": 1,
        "event_id": given["event_id"] or f"manual-{uuid.uuid4()}",
        "type": kind,
        "agent": agent,
        "nai": given["nai"],
        "session_id": given["session"],
        "home_addr": given["home_address"],
        "access_gw": agent,
        "prev_gw": given["previous_gateway"],
        "seq": given["seq"] or identification(seconds, (nanoseconds << 32) // 10**9),
        "observed_at": seconds,
        "lifetime_s": 0 if kind is EventType.DEREGISTER else given["lifetime"],
        "source": EventSource.MANUAL,
    }
    return event_of({name: value for name, value in fields.items() if value is not None}).encoded()


def _agent_name() -> str | None:
    name = os.environ.get("ROAMVPN_AGENT")
    if name is None and AGENT_NAME.is_file():
        name = AGENT_NAME.read_text(errors="replace").partition("\n")[0]
    return name and re.sub(r"\s+\Z", "", name)


def _deliver(path: Path, body: bytes) -> None:
    status, reply = post(path, body)
    click.echo(json.dumps(reply))
    if status not in {200, 202}:
        sys.exit(1)
