"""`roamvpn mn`: a mobile terminal for laboratories, driven by options or by lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, cast

import click
from pydantic import Field

from roamvpn.daemon.clock import Clock
from roamvpn.daemon.config import read_config
from roamvpn.mobile.terminal import Identity, Outcome, Terminal
from roamvpn.signalling.messages import Code
from roamvpn.tables.base import Frozen
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.secrets import Hex
from roamvpn.tables.types import parse_address, parse_nai
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.errors import WireError

PORT = 434
REFUSED, SILENCE = 2, 3
"""Exit codes: the registration was refused; nobody has answered."""
_GIVE_UP_S = 20.0


class Key(Frozen):
    """One key of the mobile's."""

    spi: Annotated[int, Field(strict=True, ge=0x100, le=0xFFFFFFFF)]
    key: Hex


class Keys(Frozen):
    """A mobile's keys file, mode 0600."""

    mn_ha: Key = Field(alias="mn-ha")
    mn_aaa: Key | None = Field(default=None, alias="mn-aaa")


class Driver(asyncio.DatagramProtocol):
    """The terminal with its socket and its clock; every event is a line."""

    def __init__(self, terminal: Terminal, port: int, *, as_json: bool, route: bool = False) -> None:
        self.terminal = terminal
        self.answered: asyncio.Queue[Outcome] = asyncio.Queue()
        self._port = port
        self._json = as_json
        self._route = route
        self._routing: asyncio.Task[None] | None = None
        self._clock = Clock()
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Bind to the home address; raises OSError."""
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setblocking(False)  # noqa: FBT003 - the standard library's own argument
        bound.bind((self.terminal.who.home, 0))
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=bound)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio asks."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """An answer, or what claims to be one."""
        try:
            outcome = self.terminal.hear(data, time.monotonic())
        except WireError as error:
            self.say("forged", reason=str(error), peer=addr[0])
            return
        if outcome is None:
            return
        self._cancel()
        if outcome.clock_set:
            self.say("clock set", offset_s=self.terminal.offset >> 32)
            self._again()
            return
        accepted = outcome.code == Code.ACCEPTED
        name = "refused" if not accepted else "registered" if outcome.lifetime else "left"
        self.say(name, code=outcome.code, lifetime=outcome.lifetime, seq=outcome.seq, ms=round(outcome.after_ms, 2))
        if accepted and outcome.lifetime and self._route:
            self._routing = asyncio.create_task(self._by(str(self.terminal.agent), outcome))
        else:
            self.answered.put_nowait(outcome)
        if accepted and outcome.lifetime:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(outcome.lifetime / 2, self._refresh)

    async def _by(self, agent: str, outcome: Outcome) -> None:
        """From now on packets of the home address leave by the agent."""
        command = ("ip", "route", "replace", "default", "via", agent, "src", self.terminal.who.home)
        try:
            done = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
            _, said = await done.communicate()
            wrong = said.decode(errors="replace").strip() or f"exit code {done.returncode}" if done.returncode else ""
        except OSError as error:
            wrong = f"ip: {error.strerror}"
        if wrong:
            self.say("not routed", reason=wrong[:200])
        else:
            self.say("routed")
        self.answered.put_nowait(outcome)

    def ask(self, agent: str, **more: Any) -> None:  # noqa: ANN401 - old, update, leave
        """Register with the agent at that address."""
        self._send(self.terminal.ask(agent, self._clock.ntp(), time.monotonic(), **more))

    def close(self) -> None:
        """Stop."""
        self._cancel()
        if self._transport is not None:
            self._transport.close()

    def say(self, event: str, **fields: object) -> None:
        """A line about what happened."""
        told = {"event": event, "agent": self.terminal.agent, **fields}
        if self._json:
            click.echo(json.dumps(told, sort_keys=True))
        else:
            rest = ", ".join(f"{key} {value}" for key, value in told.items() if key != "event" and value is not None)
            click.echo(f"{event}: {rest}")

    def _send(self, data: bytes) -> None:
        self._cancel()
        if self._transport is not None:
            self._transport.sendto(data, (self.terminal.agent, self._port))
        self.say("asked", seq=self.terminal.seq, attempt=self.terminal.attempts)
        self._timer = asyncio.get_running_loop().call_later(self.terminal.patience, self._again)

    def _again(self) -> None:
        self._send(self.terminal.again(self._clock.ntp()))

    def _refresh(self) -> None:
        if self.terminal.served_by is not None:
            self.ask(self.terminal.served_by)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def mn() -> None:
    """A Mobile IP terminal, for laboratories.

    Exits 0 when it was served, 2 when it was refused, 3 when nobody answered, 1 on an error.
    """


def _who(function: Any) -> Any:  # noqa: ANN401 - a decorator of click's
    for option in reversed(
        (
            click.option("--nai", required=True, help="The user."),
            click.option("--home-address", required=True, metavar="ADDRESS", help="Also where it sends from."),
            click.option("--home-agent", required=True, metavar="ADDRESS"),
            click.option("--keys", required=True, type=click.Path(path_type=Path), help="Its keys, mode 0600."),
            click.option("--lifetime", type=click.IntRange(1, 65534), default=600, show_default=True, help="Seconds."),
            click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True),
            click.option("--route", is_flag=True, help="Its default route becomes the agent that serves it."),
            click.option("--json", "as_json", is_flag=True, help="Events as lines of JSON."),
        )
    ):
        function = option(function)
    return function


@mn.command()
@_who
@click.option("--agent", required=True, metavar="ADDRESS", help="The foreign agent.")
@click.option("--old-agent", metavar="ADDRESS", help="Where it was before.")
@click.option("--service-update", is_flag=True, help="Its VPN records have changed.")
@click.option("--leave", is_flag=True, help="Sign off.")
@click.option("--wait", type=click.FloatRange(0, 600), default=_GIVE_UP_S, show_default=True, help="Seconds.")
def register(
    agent: str,
    old_agent: str | None,
    *,
    service_update: bool,
    leave: bool,
    wait: float,
    **who: Any,  # noqa: ANN401
) -> None:
    """Register once, and say what became of it.

    The old agent is named by its care-of address, which is its address in the network's tables.
    """
    driver = _driver(**who)
    try:
        at, old = parse_address(agent), _address(old_agent)
    except ValueError as error:
        raise RoamvpnError(f"an agent's address {error}") from None

    async def once() -> Outcome:
        await driver.open()
        try:
            driver.ask(at, old=old, update=service_update, leave=leave)
            return await asyncio.wait_for(driver.answered.get(), wait)
        finally:
            driver.close()

    try:
        outcome = asyncio.run(once())
    except TimeoutError:
        click.echo(f"{agent}: no answer within {wait:g} s", err=True)
        sys.exit(SILENCE)
    except OSError as error:
        raise RoamvpnError(f"{who['home_address']}: {error.strerror}") from None
    sys.exit(0 if outcome.code == Code.ACCEPTED else REFUSED)


@mn.command()
@_who
def run(**who: Any) -> None:  # noqa: ANN401
    """Take commands from standard input, one JSON object a line, until it ends.

    \b
    {"do": "register", "agent": "10.90.21.1", "old_agent": "192.0.2.22", "service_update": true}
    {"do": "leave"}
    """
    driver = _driver(**who)

    async def serve() -> None:
        await driver.open()
        reader = await _standard_input()
        driver.say("ready")
        try:
            while line := await reader.readline():
                _command(driver, line)
        except ValueError:
            raise RoamvpnError("a command is longer than 64 KiB") from None
        finally:
            driver.close()

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())


async def _standard_input() -> asyncio.StreamReader:
    """Standard input line by line; asyncio itself reads pipes and terminals, not files."""
    reader = asyncio.StreamReader()
    if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode):
        reader.feed_data(sys.stdin.buffer.read())
        reader.feed_eof()
        return reader
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _command(driver: Driver, line: bytes) -> None:
    try:
        command = json.loads(line)
        if command["do"] == "leave":
            agent = driver.terminal.served_by or driver.terminal.agent
            if agent is not None:
                driver.ask(agent, leave=True)
        elif command["do"] == "register":
            update = command.get("service_update") is True
            driver.ask(parse_address(command["agent"]), old=_address(command.get("old_agent")), update=update)
        else:
            driver.say("unknown", command=str(command["do"])[:40])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        driver.say("unknown", reason=f"{type(error).__name__}: {error}"[:200])


def _address(given: str | None) -> str | None:
    return None if given is None else parse_address(given)


def _driver(  # noqa: PLR0913 - options
    *, nai: str, home_address: str, home_agent: str, keys: Path, lifetime: int, port: int, route: bool, as_json: bool
) -> Driver:
    known = read_config(keys, Keys, secret=True)
    try:
        who = Identity(
            parse_nai(nai),
            parse_address(home_address),
            parse_address(home_agent),
            _association(known.mn_ha),
            _association(known.mn_aaa) if known.mn_aaa is not None else None,
        )
    except ValueError as error:
        raise RoamvpnError(f"{nai}: {error}") from None
    return Driver(Terminal(who, lifetime), port, as_json=as_json, route=route)


def _association(key: Key) -> SecurityAssociation:
    return SecurityAssociation(key.spi, key.key, Algorithm.MD5)
