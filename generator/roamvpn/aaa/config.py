"""What an AAA server is told: its name, its site, its peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import Field

from roamvpn.daemon.config import AbsolutePath, Port, SignallingConfig, read_config
from roamvpn.daemon.diameter.settings import DiameterConfig
from roamvpn.tables.base import Frozen
from roamvpn.tables.checks import NETWORK
from roamvpn.tables.network import Network
from roamvpn.tables.problems import InputError, Problem
from roamvpn.tables.secrets import Hex

CONFIG = Path("/etc/roamvpn/aaa.yml")


class AaaConfig(Frozen):
    """`aaa.yml`. `site` is a directory; a foreign server reads only its `network.yml`: no subscriber data (A4).

    `keys` is a home server's file of keys; with it, mobiles' own authenticators are verified. Status and metrics are
    told on a unix socket below `run`, and on a loopback port where one is given.
    """

    name: Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9-]{0,30}$")]
    site: AbsolutePath
    keys: AbsolutePath | None = None
    state: AbsolutePath = "/var/lib/roamvpn/aaa"
    run: AbsolutePath = "/run/roamvpn"
    status_port: Port | None = None
    diameter: DiameterConfig
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    signalling: SignallingConfig = SignallingConfig()
    durable: bool = Field(default=True, strict=True)
    """Whether what is kept outlives a loss of power, not only the end of the process."""


class ServerKeys(Frozen):
    """The keys file: the root of the keys that this AAAH shares with its mobiles (RFC 4721)."""

    mobiles: Hex


class Setup(NamedTuple):
    """All that an AAA server starts from."""

    config: AaaConfig
    network: Network
    keys: ServerKeys | None = None

    @property
    def is_home(self) -> bool:
        """Whether it is the AAAH of its realm."""
        return self.network.aaa_servers[self.config.name].role == "home"

    @property
    def site(self) -> Path:
        """The site's directory."""
        return Path(self.config.site)

    @property
    def state(self) -> Path:
        """Where it keeps what must outlive a restart."""
        return Path(self.config.state)

    @property
    def socket(self) -> Path:
        """Where status and metrics are told."""
        return Path(self.config.run) / f"{self.config.name}.sock"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read its files; raises InputError with all that does not hold."""
        config = read_config(path, AaaConfig)
        network = read_config(Path(config.site) / NETWORK, Network)
        if config.name not in network.aaa_servers:
            raise InputError([Problem(str(path), 0, "name", config.name, "is no AAA server of the network")])
        keys = read_config(Path(config.keys), ServerKeys, secret=True) if config.keys is not None else None
        return cls(config, network, keys)
