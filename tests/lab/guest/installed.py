"""What is really installed: the tunnels that kernel and charon have, against the central compile (F9)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from roamvpn.policy.compile import compile_fleet
from roamvpn.tables.gateway_state import SESSION
from roamvpn.tables.records import Session

if TYPE_CHECKING:
    from roamvpn.tables.gateway_state import GatewayState
    from roamvpn.tables.site import Site
    from tests.lab.guest.hosts import Host

_CHILD = re.compile(r"^  (rv-[ph]\S+): #\d+, reqid \d+, (\w+)", re.MULTILINE)
_IKE = re.compile(r"^(rv-[ph]\S+): #(\d+), (\w+)", re.MULTILINE)
_SESSION_PREFS = range(10_000, 20_000)
_BLOCK = "5222"


def expected(site: Site, home: dict[str, Any]) -> dict[str, GatewayState]:
    """Every gateway's state by the central compile, for the sessions that the home agent's status names."""
    sessions = [
        Session(
            session_id=row["session"],
            nai=row["nai"],
            foreign_agent=row["foreign_agent"],
            generation=row["generation"],
        )
        for row in home["sessions"]
        if row["role"] == "ha" and row["session"]
    ]
    return compile_fleet(site.tables, sessions).states


def differences(site: Site, hosts: dict[str, Host], home: dict[str, Any]) -> list[str]:
    """What differs, a sentence each; nothing where every gateway runs what the compile says."""
    found = []
    for name, state in sorted(expected(site, home).items()):
        host = hosts[name]
        legs = {leg.name: leg for leg in state.legs.values() if leg.owner == SESSION}
        sas = host.swanctl("--list-sas")
        up = {each[1] for each in _IKE.finditer(sas) if each[3] == "ESTABLISHED"}
        wanted = {leg.name for leg in legs.values() if leg.has_association}
        # an enterprise's own legs stand whoever is registered
        up -= {leg.name for leg in state.legs.values() if leg.owner != SESSION}
        found += [f"{name}: {leg} has no association" for leg in sorted(wanted - up)]
        found += [f"{name}: {leg} is not of the compile" for leg in sorted(up - wanted)]
        marks = {leg.handle: leg.mark for leg in legs.values() if leg.handle is not None}
        filters = _filters(host)
        for handle in sorted(marks.keys() | filters.keys()):
            if marks.get(handle) != filters.get(handle):
                found.append(f"{name}: filter {handle} marks {filters.get(handle)}, not {marks.get(handle)}")
    return found


def _filters(host: Host) -> dict[int, int | None]:
    """Marks by handle, of sessions' filters."""
    said = host.run("tc", "-j", "filter", "show", "block", _BLOCK, check=False)
    rows = json.loads(said) if said.strip().startswith("[") else []
    found: dict[int, int | None] = {}
    for row in rows:
        options = row.get("options") or {}
        if row.get("pref") in _SESSION_PREFS and "handle" in options:
            marks = [action.get("mark") for action in options.get("actions", []) if action.get("kind") == "skbedit"]
            found[int(options["handle"])] = int(marks[-1]) if marks and marks[-1] is not None else None
    return found
