"""What every action of a run works with: the checked site, its state directory, the time, and the vault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from roamvpn.provision.authority import Authority
from roamvpn.provision.sites import site_of
from roamvpn.provision.state import State
from roamvpn.stores.vault import decrypt
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from roamvpn.stores.vault import Unlock
    from roamvpn.tables.site import Site
    from roamvpn.tables.tables import Tables


def no_seal(_content: bytes) -> bytes:
    """Where there is no vault password, nothing can be encrypted."""
    raise RoamvpnError("the secrets are encrypted; name the vault's password file to rotate them")


@dataclass(slots=True)
class Control:
    """A site under control of this machine. `unlock` and `seal` decrypt and encrypt its secrets file."""

    directory: Path
    site: Site
    state: State
    now: datetime
    passphrase: str = ""
    unlock: Unlock = decrypt
    seal: Callable[[bytes], bytes] = no_seal

    @classmethod
    def of(cls, directory: Path, now: datetime, unlock: Unlock = decrypt, passphrase: str = "") -> Control:
        """Check the site, if that was not done in this process; raises InputError with all problems."""
        return cls(directory, site_of(directory, unlock), State(directory), now, passphrase, unlock)

    @property
    def tables(self) -> Tables:
        """The site's tables."""
        return self.site.tables

    @property
    def authority(self) -> Authority:
        """The site's CA, as it is on disk now."""
        return Authority(self.state.pki, self.tables.network.site, self.passphrase)

    def identities(self, gateway: str) -> tuple[str, ...]:
        """The names in a gateway's certificate: its IKE identity, and the one of its AH association."""
        identity = self.tables.identity(gateway)
        return identity, f"ah.{identity}"
