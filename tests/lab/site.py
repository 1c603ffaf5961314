"""The lab's site: the example network with the users that complete the matrix, its bundles, its certificates."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from roamvpn.engine import open_site
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.stores.tree import write_tree
from roamvpn.tables.site import load_site
from tests.lab.vpns import EXTRA_RECORDS, EXTRA_SESSIONS, EXTRA_SUBSCRIBERS

if TYPE_CHECKING:
    from pathlib import Path

_STATIC_SLA = "sla: {home_agent: ha31, keying: static, up_spi: 0x2001, down_spi: 0x2002}"


def bundles(work: Path, *, static_keys: bool = False) -> Path:
    """Render the lab's site and add each gateway's certificate; returns the directory of bundles."""
    site = work / "site"
    shutil.copytree(example_site(), site, ignore=shutil.ignore_patterns("secrets.yml"))
    # each of these files ends with the list that the extra rows belong to
    for name, extra in (
        ("network.yml", EXTRA_SUBSCRIBERS),
        ("vpn_database.yml", EXTRA_RECORDS),
        ("sessions.yml", EXTRA_SESSIONS),
    ):
        path = site / name
        path.write_text(path.read_text().rstrip("\n") + extra)
    if static_keys:
        path = site / "network.yml"
        text = path.read_text()
        assert "sla: {home_agent: ha31, keying: ike}" in text
        path.write_text(text.replace("sla: {home_agent: ha31, keying: ike}", _STATIC_SLA))
    complete_secrets(site / "secrets.yml", load_site(read_site(site)).tables)
    engine = open_site(site)
    out = work / "bundles"
    write_tree(out, engine.side, "lab")
    _certify(work / "ca", out, {name: engine.site.tables.identity(name) for name in engine.fleet.states})
    return out


def _certify(ca: Path, out: Path, identities: dict[str, str]) -> None:
    """A CA, and for each gateway a key and a certificate for its two identities, where swanctl looks for them."""
    ca.mkdir()
    key, root = ca / "ca.key", ca / "ca.pem"
    key.write_bytes(_pki("--gen", "--type", "ed25519"))
    root.write_bytes(_pki("--self", "--ca", "--in", str(key), "--type", "ed25519", "--dn", "CN=lab CA"))
    for name, identity in identities.items():
        home = out / name
        for directory in ("x509", "x509ca", "private"):
            (home / directory).mkdir()
        private = home / "private" / f"{name}.pem"
        private.write_bytes(_pki("--gen", "--type", "ed25519"))
        private.chmod(0o600)
        names = ["--dn", f"CN={identity}", "--san", identity, "--san", f"ah.{identity}"]
        authority = ["--cacert", str(root), "--cakey", str(key)]
        issued = _pki("--issue", "--type", "priv", "--in", str(private), *authority, *names)
        (home / "x509" / f"{name}.pem").write_bytes(issued)
        shutil.copy(root, home / "x509ca")


def _pki(*arguments: str) -> bytes:
    command, *rest = arguments
    return subprocess.run(["pki", command, *rest, "--outform", "pem"], capture_output=True, check=True).stdout
