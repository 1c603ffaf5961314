"""The home server's tables: VPN database, subscribers, CN-GW table and SLAs' keys, from a site directory.

They are read at the start and when the daemon is told to. A file that cannot be read is a database that is down: new
sessions are refused until it is back (G25), those that are known go on. One that is read and does not hold changes
nothing: the tables of before stay in force.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roamvpn.policy.compile import Decider
from roamvpn.stores.site_directory import read_site
from roamvpn.tables.problems import InputError, RoamvpnError
from roamvpn.tables.site import REQUIRED, load_site

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from roamvpn.policy.keys import Entropy
    from roamvpn.tables.network import Network
    from roamvpn.tables.records import VpnRecord
    from roamvpn.tables.site import Site

_SHOWN_PROBLEMS = 20


class SiteDecider(Decider):
    """Path determination by the site's tables of now."""

    def take(self, site: Site) -> None:
        """Decide by these tables from now on."""
        self.tables = site.tables
        self._secrets = site.secrets


class SiteDatabase:
    """The VPN database of a site directory (B1, B4)."""

    def __init__(self, directory: Path, site: Site, entropy: Entropy, log: FilteringBoundLogger) -> None:
        self.decider = SiteDecider(site.tables, site.secrets, entropy)
        self._directory = directory
        self._log = log
        self._down = ""
        self._reading = asyncio.Lock()

    @classmethod
    def read(cls, directory: Path, entropy: Entropy, log: FilteringBoundLogger) -> SiteDatabase:
        """At the start; raises InputError with all problems of all files."""
        return cls(directory, _site(directory), entropy, log)

    @property
    def network(self) -> Network:
        """The network that these tables belong to."""
        return self.decider.tables.network

    async def find(self, nai: str) -> tuple[VpnRecord, ...]:
        """All records of a user; raises RoamvpnError while the database is down."""
        if self._down:
            raise RoamvpnError(self._down)
        return tuple(self.decider.tables.vpn_database.get(nai, ()))

    async def reload(self) -> bool:
        """Take up what the files say now; whether that is in force."""
        async with self._reading:
            try:
                await asyncio.to_thread(_readable, self._directory)
            except OSError as error:
                self._down = f"{error.filename}: {error.strerror}"
                self._log.error("database down", reason=self._down)
                return False
            try:
                site = await asyncio.to_thread(_site, self._directory)
            except InputError as error:
                self._down = ""
                problems = [str(problem) for problem in error.problems[:_SHOWN_PROBLEMS]]
                self._log.error("tables do not hold, those of before stay", problems=problems, all=len(error.problems))
                return False
            except RoamvpnError as error:
                self._down = ""
                self._log.error("tables do not hold, those of before stay", problems=[str(error)])
                return False
            self._down = ""
            return self._take(site)

    def _take(self, site: Site) -> bool:
        old, new = self.network, site.tables.network
        # subscribers, classes and the like may change at any time; who is where is known to every connection
        changed = [
            name
            for name in ("domains", "gateways", "aaa_servers", "classes")
            if getattr(old, name) != getattr(new, name)
        ]
        if changed:
            self._log.error("the network has changed: restart to take it up", changed=changed)
            return False
        self.decider.take(site)
        tables = site.tables
        self._log.info("tables taken up", records=len(tables.records), subscribers=len(tables.subscribers))
        return True


def _site(directory: Path) -> Site:
    return load_site(read_site(directory))


def _readable(directory: Path) -> None:
    """Raises OSError for the first file that cannot be read."""
    for name in REQUIRED:
        with (directory / name).open("rb"):
            pass
