"""Sites for tests: the example network's files as data, changed by what a test is about."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from roamvpn.stores.templates import example_site
from roamvpn.tables.problems import InputError, Problem
from roamvpn.tables.site import Site, load_site

_FILES = {
    path.name: path.read_text()
    for path in sorted(example_site().glob("*.yml"))
    if path.name not in ("roamvpn.yml", "secrets.yml")
}
_DATA = {name: yaml.safe_load(text) for name, text in _FILES.items()}


class Documents:
    """The example's documents, free to be changed."""

    def __init__(self) -> None:
        data = copy.deepcopy(_DATA)
        self.network: dict[str, Any] = data["network.yml"]
        self.records: list[dict[str, Any]] = data["vpn_database.yml"]["vpn_database"]
        self.rows: list[dict[str, Any]] = data["cn_gw_table.yml"]["cn_gw_table"]
        self.sessions: list[dict[str, Any]] = data["sessions.yml"]["sessions"]
        self.policy_tests: list[dict[str, Any]] = []
        self.secrets: dict[str, Any] | None = None

    def texts(self) -> dict[str, str]:
        """The files' texts."""
        documents: dict[str, object] = {
            "network.yml": self.network,
            "vpn_database.yml": {"vpn_database": self.records},
            "cn_gw_table.yml": {"cn_gw_table": self.rows},
            "sessions.yml": {"sessions": self.sessions},
            "policy_tests.yml": {"policy_tests": self.policy_tests},
        }
        if self.secrets is not None:
            documents["secrets.yml"] = self.secrets
        return {name: yaml.safe_dump(document, sort_keys=False) for name, document in documents.items()}

    def site(self) -> Site:
        """The checked site; raises InputError."""
        return load_site(self.texts())

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong; empty if nothing is."""
        try:
            self.site()
        except InputError as error:
            return error.problems
        return ()

    def gateway(self, name: str) -> dict[str, Any]:
        """A gateway of the network."""
        found: dict[str, Any] = self.network["gateways"][name]
        return found

    def record(self, number: int) -> dict[str, Any]:
        """A VPN record by its profile number."""
        return next(record for record in self.records if record["profile_number"] == number)
