"""A site drawn from a seed: domains, gateways with one role or two, servers, users, and records of all kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roamvpn.tables.network import Network
from roamvpn.tables.records import CnGwTableFile, VpnDatabaseFile, VpnRecord
from roamvpn.tables.secrets import Secrets
from roamvpn.tables.tables import Tables
from roamvpn.tables.types import Role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

SITE_KEY = bytes(range(32))
_MIXED, _WITH_AAAF, _OWN = 0.3, 0.85, 0.6
_NOWHERE = "172.16.0.0/16"
"""A destination without a CN-GW row (G25)."""


class DrawnSite:
    """Draws a site, and later other records for its users."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._gateways: dict[str, dict[str, Any]] = {}
        self._domains = {name: {"realm": f"{name}.example"} for name in ("home", "far", "firm")}
        self._servers = {"aaah": {"domain": "home", "role": "home", "address": "192.0.2.250"}}
        self._rows: list[dict[str, Any]] = []
        self._numbers = iter(range(1, 100_000))
        # a VPN that is changed keeps its number, and its old PCN for a while: not beside a foreign agent of its own
        self.mixed = random.random() < _MIXED
        self._visited()
        homes = self._homes()
        self._correspondents(homes)
        self.tables = self._tables(homes)
        self.secrets = self._secrets()

    def records(self, nai: str, kept: list[int] | None = None) -> tuple[VpnRecord, ...]:
        """Records of a user: none to three, to destinations that do not overlap; numbers that are `kept` come back."""
        random = self._random
        wanted = random.choice((0, 1, 1, 2, 2, 3))
        places = [row["cn"] for row in self._rows] + [_NOWHERE]
        numbered = [] if self.mixed else list(kept or ())
        found = []
        for place in random.sample(places, min(wanted, len(places))):
            number = numbered.pop() if numbered and random.random() < 0.8 else next(self._numbers)
            network = place.rsplit(".", 2)[0]
            record: dict[str, Any] = {
                "profile_number": number,
                "nai": nai,
                "vpnshare": int(random.random() < _OWN),
                "destaddr": random.choice((place, f"{network}.{random.randint(0, 3)}.0/24", f"{network}.9.9")),
                "security": random.choice(("esp", "esp", "ah", "encapsulation")),
                "upclass": random.choice(("ef", "af41", "none")),
                "downclass": random.choice(("ef", "af41", "none")),
            }
            if record["vpnshare"]:
                record |= {"up_spi": 0x1000 + 2 * number, "down_spi": 0x1001 + 2 * number}
            found.append(record)
        return VpnDatabaseFile.model_validate({"vpn_database": found}).vpn_database

    def _gateway(self, name: str, domain: str, roles: list[str], **more: object) -> str:
        number = len(self._gateways) + 1
        address = f"192.0.2.{number}"
        uplink = {"interface": "wan", "rate": "1gbit"}
        gateway = {"number": number, "domain": domain, "roles": roles, "address": address, "uplink": uplink}
        self._gateways[name] = {**gateway, "access": ["lan"], **more}
        return address

    def _row(self, cn: str, address: str, kind: str) -> None:
        self._rows.append({"cn": cn, "gw_address": address, "gw_type": kind})

    def _second_roles(self, *roles: str) -> list[str]:
        return [role for role in roles if self.mixed and self._random.random() < 0.5]

    def _visited(self) -> None:
        random = self._random
        for index in range(random.randint(1, 3)):
            domain = f"visited{index}"
            self._domains[domain] = {"realm": f"{domain}.example"}
            for _ in range(random.randint(1, 3)):
                self._gateway(f"fa{len(self._gateways) + 1}", domain, ["fa"])
            if random.random() < _WITH_AAAF:
                self._servers[f"aaaf{index}"] = {
                    "domain": domain,
                    "role": "foreign",
                    "address": f"192.0.2.{240 + index}",
                }

    def _homes(self) -> list[str]:
        homes = [f"ha{index}" for index in range(self._random.randint(1, 2))]
        for index, name in enumerate(homes):
            roles = ["ha", *self._second_roles("fa", "pcn")]
            self._gateway(name, "home", roles, home_networks=[f"203.0.{index}.0/24"])
        return homes

    def _correspondents(self, homes: list[str]) -> None:
        for index in range(self._random.randint(1, 3)):
            address = self._gateway(f"pcn{index}", "far", ["pcn", *self._second_roles("fa")])
            self._row(f"10.{index}.0.0/16", address, "dynamic")
        for index, name in enumerate(homes):
            if "pcn" in self._gateways[name]["roles"]:
                self._row(f"10.{90 + index}.0.0/16", self._gateways[name]["address"], "dynamic")
        for index in range(self._random.randint(0, 2)):
            address = self._gateway(f"gw{index}", "firm", ["static"], sla={"home_agent": homes[0]})
            self._row(f"10.{100 + index}.0.0/16", address, "static")

    def _tables(self, homes: list[str]) -> Tables:
        random = self._random
        users = []
        for index in range(random.randint(2, 7)):
            home = homes[0] if len(homes) == 1 or random.random() < 0.7 else homes[1]
            address = f"203.0.{homes.index(home)}.{index + 1}"
            users.append({"nai": f"u{index}@home.example", "home_address": address, "home_agent": home})
        network = {
            "site": "drawn",
            "classes": {"ef": {"dscp": "EF", "rate": "2mbit"}, "af41": {"dscp": "AF41", "rate": "5mbit"}},
            "domains": self._domains,
            "gateways": self._gateways,
            "aaa_servers": self._servers,
            "subscribers": users,
            "allow_encapsulation_only": True,
        }
        records = [record for user in users for record in self.records(user["nai"])]
        rows = CnGwTableFile.model_validate({"cn_gw_table": self._rows}).cn_gw_table
        return Tables(Network.model_validate(network), records, rows)

    def _secrets(self) -> Secrets:
        numbers = [record.profile_number for record in self.tables.records]
        sla = {
            name: {
                "shared": {"psk": f"{gateway.number:02x}" * 32},
                "profiles": {str(number): {"psk": f"{gateway.number:032x}{number:032x}"} for number in numbers},
            }
            for name, gateway in self.tables.network.gateways.items()
            if Role.STATIC in gateway.roles
        }
        return Secrets.model_validate({"site_key": SITE_KEY.hex(), "sla": sla})


def agents_of(tables: Tables) -> list[str]:
    """The foreign agents."""
    return sorted(name for name, gateway in tables.network.gateways.items() if Role.FA in gateway.roles)


def nodes_of(tables: Tables) -> list[str]:
    """All nodes that signalling reaches."""
    return sorted((*_managed(tables), *tables.network.aaa_servers))


def _managed(tables: Tables) -> Iterator[str]:
    return (name for name, gateway in tables.network.gateways.items() if Role.STATIC not in gateway.roles)
