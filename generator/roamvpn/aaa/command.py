"""`roamvpn aaa`: the AAA server in the foreground, as systemd wants it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from roamvpn.aaa.config import CONFIG, Setup
from roamvpn.aaa.daemon import AaaDaemon, serve
from roamvpn.tables.problems import RoamvpnError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "-c", type=click.Path(path_type=Path), default=CONFIG, show_default=True, help="Its file.")
@click.option("--check", is_flag=True, help="Read all its files, say what is wrong, and stop.")
def aaa(config: Path, *, check: bool) -> None:
    """Serve AAA over Diameter, for a home domain or a visited one.

    Runs until SIGTERM; SIGHUP takes up changed tables and certificates. Logs go to standard error, one JSON object a
    line.
    """
    if check:
        setup = Setup.read(config)
        if setup.config.diameter.tls is not None:
            for server in (True, False):
                setup.config.diameter.tls.context(server=server)
        asyncio.run(_built(setup))
        click.echo(f"{config}: {setup.config.name} can serve")
        return
    try:
        asyncio.run(serve(config))
    except OSError as error:
        raise RoamvpnError(f"{config}: {error.strerror or error}") from None


async def _built(setup: Setup) -> None:
    AaaDaemon(setup)
