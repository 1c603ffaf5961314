"""The example network's gateways as they are rendered, and as bundles."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from roamvpn.engine import open_site
from roamvpn.stores.bundles import pack
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.stores.tree import write_tree
from roamvpn.tables.site import load_site

if TYPE_CHECKING:
    from pathlib import Path


class Bundle(NamedTuple):
    """A gateway's bundle, its digest, and its files."""

    gateway: str
    digest: str
    content: bytes
    tree: Path


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("rendered")
    site = work / "site"
    shutil.copytree(example_site(), site, ignore=shutil.ignore_patterns("secrets.yml", ".roamvpn"))
    complete_secrets(site / "secrets.yml", load_site(read_site(site)).tables)
    write_tree(work / "out", open_site(site).side, "example")
    return work / "out"


@pytest.fixture(scope="session")
def bundle(trees: Path) -> Bundle:
    digest = json.loads((trees / "fa21/manifest.json").read_text())["digest"]
    return Bundle("fa21", digest, pack(trees / "fa21"), trees / "fa21")
