"""All tables of a site together, with the indexes that look-ups need. Built once, never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.tables.cn_gw_table import CnGwTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from roamvpn.tables.network import Gateway, Network, Subscriber
    from roamvpn.tables.records import CnGwRow, VpnRecord


class Tables:
    """Network, VPN database (by NAI, B4) and CN-GW table."""

    __slots__ = ("_by_address", "cn_gw_table", "network", "records", "subscribers", "vpn_database")

    def __init__(self, network: Network, records: Iterable[VpnRecord], rows: Iterable[CnGwRow]) -> None:
        self.network = network
        self.records = tuple(records)
        self.cn_gw_table = CnGwTable(rows)
        database: dict[str, list[VpnRecord]] = {}
        for record in self.records:
            database.setdefault(record.nai, []).append(record)
        for hits in database.values():
            hits.sort(key=lambda record: record.profile_number)
        self.vpn_database: Mapping[str, list[VpnRecord]] = database
        self.subscribers: Mapping[str, Subscriber] = {user.nai: user for user in network.subscribers}
        self._by_address = {gateway.address: name for name, gateway in network.gateways.items()}

    def gateway(self, name: str) -> Gateway:
        """The gateway of that name; raises KeyError."""
        return self.network.gateways[name]

    def gateway_at(self, address: str) -> str | None:
        """The name of the gateway with that address."""
        return self._by_address.get(address)

    def identity(self, gateway: str) -> str:
        """The gateway's own IKE identity, also the name in its certificate: `fa21.isp2.example`."""
        return f"{gateway}.{self.network.domains[self.gateway(gateway).domain].realm}"
