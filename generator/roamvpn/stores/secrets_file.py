"""Create or complete a site's `secrets.yml` with fresh keys, for what the tables ask."""

from __future__ import annotations

import secrets as entropy
from typing import TYPE_CHECKING

import yaml

from roamvpn.policy.keys import KeyGenerator
from roamvpn.stores.site_directory import read_secrets
from roamvpn.stores.tree import write_secret
from roamvpn.stores.vault import is_encrypted
from roamvpn.tables.checks import SECRETS, check_secrets
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.secrets import Secrets, SlaKeys
from roamvpn.tables.source import Source
from roamvpn.tables.types import Keying

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.tables.tables import Tables


def complete_secrets(path: Path, tables: Tables) -> list[str]:
    """Add every missing key to the file, in one atomic replacement; returns the dotted names of what was added.

    Raises:
        RoamvpnError: where keys are missing from an encrypted file, which is never written in clear.
    """
    exists = path.exists()
    data = Source(SECRETS, read_secrets(path)).parse() if exists else {}
    if not isinstance(data, dict):
        raise RoamvpnError(f"{SECRETS}: must be a mapping")
    added = []
    generator = KeyGenerator(lambda _purpose, length: entropy.token_bytes(length))
    if "site_key" not in data:
        data["site_key"] = entropy.token_hex(32)
        added.append("site_key")
    known = Secrets.model_validate(data)
    for finding in check_secrets(known, tables):
        node: dict[str, object] = data
        for step in map(str, finding.path):
            child = node.setdefault(step, {})
            if not isinstance(child, dict):
                raise RoamvpnError(f"{SECRETS}: {step} must be a mapping")
            node = child
        sla = tables.gateway(str(finding.path[1])).sla
        keying = sla.keying if sla is not None else Keying.IKE
        keys = SlaKeys.of(generator.keys(" ".join(map(str, finding.path)), keying))
        node.update({name: value.hex() for name, value in keys if value is not None})
        added.append(".".join(map(str, finding.path)))
    if added and exists and is_encrypted(path.read_bytes()):
        raise RoamvpnError(f"{path}: is encrypted and lacks {', '.join(added)}; add them with `ansible-vault edit`")
    if added:
        write_secret(path, secrets_text(data))
    return added


def secrets_text(data: dict[str, object]) -> str:
    """The text of a secrets file."""
    head = "# Secrets of this site: keep out of git, or encrypt with ansible-vault.\n"
    return head + yaml.safe_dump(data, sort_keys=True)
