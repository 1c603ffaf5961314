"""Synthetic fleets: blocks of ten gateways with a thousand legs, so a hundred legs a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.tables.network import Network
from roamvpn.tables.records import CnGwTableFile, SessionsFile, VpnDatabaseFile
from roamvpn.tables.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.tables.records import Session

BLOCK = 10
"""Gateways of a block: four foreign agents, four PCNs, a home agent, a static gateway."""
DYNAMIC, STATIC = 400, 50
"""Sessions of a block by destination: a dynamic one has two legs, a static one four."""


def _address(base: int, index: int) -> str:
    value = base + index
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def _gateways(blocks: int) -> Iterator[tuple[str, dict[str, object]]]:
    for block in range(blocks):
        kinds = ["fa"] * 4 + ["pcn"] * 4 + ["ha", "static"]
        for position, kind in enumerate(kinds):
            index = block * BLOCK + position
            gateway: dict[str, object] = {
                "number": index + 1,
                "domain": f"d{block}",
                "roles": [kind],
                "address": _address(0x0B000001, index),
                "uplink": {"interface": "wan", "rate": "10gbit"},
                "access": ["lan"],
            }
            if kind == "ha":
                gateway["home_networks"] = [f"{_address(0x64000000, block * 512)}/23"]
            if kind == "static":
                gateway["sla"] = {"home_agent": f"ha-{block}-8"}
            yield f"{kind}-{block}-{position}", gateway


def documents(gateways: int, dynamic: int = DYNAMIC, static: int = STATIC) -> dict[str, dict[str, object]]:
    """The site's files by name, as YAML would have them: `dynamic` and `static` sessions in each block of ten."""
    blocks = gateways // BLOCK
    users, records, sessions = [], [], []
    for block in range(blocks):
        for position in range(dynamic + static):
            number = block * (dynamic + static) + position + 1
            nai = f"user{number}@home{block}.example"
            home = _address(0x64000000, block * 512 + position + 1)
            users.append({"nai": nai, "home_address": home, "home_agent": f"ha-{block}-8"})
            destination = f"10.{block}.{4 if position >= dynamic else position % 4}.0/24"
            own = position % 2 == 0
            row: dict[str, object] = {
                "profile_number": number,
                "nai": nai,
                "vpnshare": int(own),
                "destaddr": destination,
                "security": "ah" if position % 10 == 0 else "esp",
            }
            if own:
                row |= {
                    "upclass": "ef",
                    "downclass": "af41",
                    "up_spi": 0x1000 + 2 * number,
                    "down_spi": 0x1001 + 2 * number,
                }
            records.append(row)
            agent = f"fa-{block}-{position % 16 // 4}"
            sessions.append({"session_id": f"s{number}", "nai": nai, "foreign_agent": agent})
    rows = [
        {
            "cn": f"10.{block}.{cn}.0/24",
            "gw_address": _address(0x0B000001, block * BLOCK + (4 + cn if cn < 4 else 9)),
            "gw_type": "dynamic" if cn < 4 else "static",
        }
        for block in range(blocks)
        for cn in range(5)
    ]
    network: dict[str, object] = {
        "site": "benchmark",
        "classes": {"ef": {"dscp": "EF", "rate": "2mbit"}, "af41": {"dscp": "AF41", "rate": "5mbit"}},
        "domains": {f"d{block}": {"realm": f"d{block}.example"} for block in range(blocks)},
        "gateways": dict(_gateways(blocks)),
        "subscribers": users,
    }
    return {
        "network.yml": network,
        "vpn_database.yml": {"vpn_database": records},
        "cn_gw_table.yml": {"cn_gw_table": rows},
        "sessions.yml": {"sessions": sessions},
    }


def fleet(gateways: int) -> tuple[Tables, list[Session]]:
    """Tables and sessions of a fleet with `gateways` gateways (a multiple of ten) and 100 legs each."""
    files = documents(gateways)
    records = VpnDatabaseFile.model_validate(files["vpn_database.yml"]).vpn_database
    rows = CnGwTableFile.model_validate(files["cn_gw_table.yml"]).cn_gw_table
    sessions = SessionsFile.model_validate(files["sessions.yml"]).sessions
    return Tables(Network.model_validate(files["network.yml"]), records, rows), list(sessions)
