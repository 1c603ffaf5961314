"""`roamvpn agent` and `roamvpn status`: the daemon in the foreground, and a look at it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click
from rich.console import Console

from roamvpn.agent.config import CONFIG, Setup
from roamvpn.agent.daemon import serve
from roamvpn.agent.hook_command import SOCKET, asked
from roamvpn.agent.status import show
from roamvpn.tables.problems import RoamvpnError

_MAX_ANSWER = 64 << 20


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "-c", type=click.Path(path_type=Path), default=CONFIG, show_default=True, help="Its file.")
@click.option("--check", is_flag=True, help="Read all its files, say what is wrong, and stop.")
def agent(config: Path, *, check: bool) -> None:
    """Serve as the mobility agent of this gateway: foreign agent, home agent or PCN, as the network says.

    Runs until SIGTERM, which leaves every tunnel standing. Logs go to standard error, one JSON object a line.
    """
    if check:
        setup = Setup.read(config)
        click.echo(f"{config}: {setup.config.name} can serve")
        return
    try:
        asyncio.run(serve(config))
    except OSError as error:
        raise RoamvpnError(f"{config}: {error.strerror or error}") from None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--socket", "path", type=click.Path(path_type=Path), default=SOCKET, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def status(path: Path, *, as_json: bool) -> None:
    """What the agent of this gateway is doing: who is served, what waits, what is wrong."""
    _, found = asked(path, "GET", "/v1/status", None, _MAX_ANSWER)
    if as_json:
        click.echo(json.dumps(found, indent=1, sort_keys=True))
    else:
        show(found, Console(soft_wrap=True, highlight=False))
