"""What an agent is told: its name, the network, its keys, where things lie on its gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self

from pydantic import Field

from roamvpn.daemon.config import AbsolutePath, Port, SignallingConfig, read_config
from roamvpn.daemon.diameter.settings import DiameterConfig
from roamvpn.gateway.charon import SOCKET
from roamvpn.tables.base import Frozen
from roamvpn.tables.network import Network
from roamvpn.tables.problems import InputError, Problem
from roamvpn.tables.secrets import Hex
from roamvpn.tables.types import Address, Nai, Name

if TYPE_CHECKING:
    from roamvpn.signalling.settings import Settings

CONFIG = Path("/etc/roamvpn/agent.yml")


class Radius(Frozen):
    """Accounting of a RADIUS server on this gateway; the password stands in the keys file."""

    port: Port
    user: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "radius"


class AgentConfig(Frozen):
    """`agent.yml`: names of files, sockets and ports. All but name, network, keys and Diameter peers have defaults.

    `users` is a file for triggers that name no user, such as leases: home address to NAI.
    """

    name: Name
    network: AbsolutePath
    keys: AbsolutePath
    state: AbsolutePath = "/var/lib/roamvpn/agent"
    run: AbsolutePath = "/run/roamvpn"
    vici: AbsolutePath = SOCKET
    mobile_ip_port: Port = 434
    diameter: DiameterConfig
    credentials: AbsolutePath = "/etc/swanctl"
    hooks: AbsolutePath = "/etc/roamvpn/hooks.d"
    drop: AbsolutePath = "/var/spool/roamvpn/drop"
    radius: Radius | None = None
    users: AbsolutePath | None = None
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    signalling: SignallingConfig = SignallingConfig()


class Association(Frozen):
    """What this agent shares with another one (RFC 5944 section 1.6)."""

    spi: Annotated[int, Field(strict=True, ge=0x100, le=0xFFFFFFFF)]
    key: Hex


class Keyring(Frozen):
    """The keys file: associations by the other agent's name, a home agent's root of its mobiles' keys.

    RADIUS's password are the hexadecimal digits.
    """

    associations: dict[Name, Association] = Field(default_factory=dict)
    mobiles: Hex | None = None
    radius_password: Hex | None = None


class Users(Frozen):
    """The users file."""

    users: dict[Address, Nai] = Field(default_factory=dict)


class Setup(NamedTuple):
    """All that an agent starts from."""

    config: AgentConfig
    network: Network
    keyring: Keyring
    users: Users = Users()

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

    @property
    def drop(self) -> Path | None:
        """Where hook scripts leave what they could not hand over, if there is such a place."""
        found = Path(self.config.drop)
        return found if found.is_dir() else None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read all its files; raises InputError with what does not hold."""
        config = read_config(path, AgentConfig)
        network = read_config(Path(config.network), Network)
        if config.name not in network.gateways:
            message = "is no gateway of the network"
            raise InputError([Problem(str(path), 0, "name", config.name, message)])
        keyring = read_config(Path(config.keys), Keyring, secret=True)
        users = read_config(Path(config.users), Users) if config.users is not None else Users()
        return cls(config, network, keyring, users)
