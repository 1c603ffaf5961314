"""A site on disk with its secrets, and gateways that are known to be bare."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from roamvpn.provision.control import Control
from roamvpn.provision.fleet import base_digest
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.tables.site import load_site

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    shutil.copytree(example_site(), site, ignore=shutil.ignore_patterns("secrets.yml", ".roamvpn"))
    complete_secrets(site / "secrets.yml", load_site(read_site(site)).tables)
    return site


@pytest.fixture
def control(directory: Path) -> Control:
    found = Control.of(directory, NOW)
    for name in found.tables.network.gateways:
        found.state.learnt(name, None)
        found.state.keep(name, base=base_digest())
    return found
