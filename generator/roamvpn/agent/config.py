"""What an agent is told: its name, the network, its keys, where things lie on its gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self

from pydantic import Field

from roamvpn.daemon.config import AbsolutePath, Port, SignallingConfig, read_config
from roamvpn.gateway.charon import SOCKET
from roamvpn.tables.base import Frozen
from roamvpn.tables.network import Network
from roamvpn.tables.problems import InputError, Problem
from roamvpn.tables.secrets import Hex
from roamvpn.tables.types import Name

if TYPE_CHECKING:
    from roamvpn.signalling.settings import Settings

CONFIG = Path("/etc/roamvpn/agent.yml")


class Tls(Frozen):
    """Files of this node's certificate; peers are known by the names in theirs."""

    certificate: AbsolutePath
    key: AbsolutePath
    ca: AbsolutePath


class AgentConfig(Frozen):
    """`agent.yml`. Without `tls` Diameter is spoken in clear, which only a laboratory may."""

    name: Name
    network: AbsolutePath
    keys: AbsolutePath
    state: AbsolutePath = "/var/lib/roamvpn/agent"
    run: AbsolutePath = "/run/roamvpn"
    vici: AbsolutePath = SOCKET
    mobile_ip_port: Port = 434
    diameter_port: Port = 5868
    tls: Tls | None = None
    radius_port: Port | None = None
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    signalling: SignallingConfig = SignallingConfig()


class Association(Frozen):
    """What this agent shares with another one (RFC 5944 section 1.6)."""

    spi: Annotated[int, Field(strict=True, ge=0x100, le=0xFFFFFFFF)]
    key: Hex


class Keyring(Frozen):
    """The keys file: associations by the other agent's name; a home agent's root of its mobiles' keys."""

    associations: dict[Name, Association] = Field(default_factory=dict)
    mobiles: Hex | None = None


class Setup(NamedTuple):
    """All that an agent starts from."""

    config: AgentConfig
    network: Network
    keyring: Keyring

    @property
    def settings(self) -> Settings:
        """As machines take them."""
        return self.config.signalling.settings()

    @property
    def state(self) -> Path:
        """Where it keeps what must outlive a restart."""
        return Path(self.config.state)

    @property
    def run(self) -> Path:
        """Where its sockets are."""
        return Path(self.config.run)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read all its files; raises InputError with what does not hold."""
        config = read_config(path, AgentConfig)
        network = read_config(Path(config.network), Network)
        if config.name not in network.gateways:
            message = "is no gateway of the network"
            raise InputError([Problem(str(path), 0, "name", config.name, message)])
        return cls(config, network, read_config(Path(config.keys), Keyring, secret=True))
