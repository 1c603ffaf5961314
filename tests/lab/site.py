"""The lab's site: the example network with the users that complete the matrix, its secrets."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.tables.site import load_site
from tests.lab.vpns import EXTRA_RECORDS, EXTRA_SESSIONS, EXTRA_SUBSCRIBERS

if TYPE_CHECKING:
    from pathlib import Path

_STATIC_SLA = "sla: {home_agent: ha31, keying: static, up_spi: 0x2001, down_spi: 0x2002}"


def site(work: Path, *, static_keys: bool = False, sessions: bool = True) -> Path:
    """Make the directory of the lab's site, secrets included. Without `sessions` nobody is registered yet."""
    made = work / "site"
    shutil.copytree(example_site(), made, ignore=shutil.ignore_patterns("secrets.yml", ".roamvpn"))
    # each of these files ends with the list that the extra rows belong to
    for name, extra in (
        ("network.yml", EXTRA_SUBSCRIBERS),
        ("vpn_database.yml", EXTRA_RECORDS),
        ("sessions.yml", EXTRA_SESSIONS),
    ):
        path = made / name
        path.write_text(path.read_text().rstrip("\n") + extra)
    if static_keys:
        path = made / "network.yml"
        text = path.read_text()
        assert "sla: {home_agent: ha31, keying: ike}" in text
        path.write_text(text.replace("sla: {home_agent: ha31, keying: ike}", _STATIC_SLA))
    if not sessions:
        (made / "sessions.yml").unlink()
    complete_secrets(made / "secrets.yml", load_site(read_site(made)).tables)
    return made
