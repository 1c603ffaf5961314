"""Two owners: what a generation leaves to the agent of its gateway."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from roamvpn.engine import open_site
from roamvpn.gateway.activation import Gateway, Order, Places
from roamvpn.gateway.errors import GatewayError
from roamvpn.stores.bundles import pack
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.stores.tree import write_tree
from roamvpn.tables.site import load_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.gateway.conftest import Bundle

_NUMBER = "    number: 31\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example network with an agent at ha31, rendered."""
    work = tmp_path_factory.mktemp("served")
    site = work / "site"
    shutil.copytree(example_site(), site, ignore=shutil.ignore_patterns("secrets.yml", ".roamvpn"))
    path = site / "network.yml"
    path.write_text(path.read_text().replace(_NUMBER, f"{_NUMBER}    agent: true\n"))
    complete_secrets(site / "secrets.yml", load_site(read_site(site)).tables)
    write_tree(work / "out", open_site(site).side, "example")
    return work / "out"


def test_a_gateway_with_an_agent_gets_nothing_of_sessions(tree: Path) -> None:
    assert not (tree / "ha31/session").exists()
    assert list((tree / "ha31/base/peers").glob("*.conf")), "what an SLA asks for stays the playbooks'"
    assert list((tree / "fa21/session/legs").glob("*.conf")), "others get what they always got"


def test_an_agents_gateway_refuses_a_generation_that_sets_sessions(tree: Path, bundle: Bundle, tmp_path: Path) -> None:
    places = Places.below(tmp_path)
    gateway = Gateway(places, [])
    gateway.store.agent.mkdir(parents=True)
    with pytest.raises(GatewayError, match="an agent has the sessions here"):
        gateway.apply(Order(bundle.digest, "fa21", "test"), bundle.content)
    assert gateway.store.current() is None
    digest = json.loads((tree / "ha31/manifest.json").read_text())["digest"]
    assert gateway.apply(Order(digest, "ha31", "test"), pack(tree / "ha31")).digest == digest
