"""What agents are given: their own keys only, and a network that names no user."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml

from roamvpn.agent.config import Setup
from roamvpn.policy.mobility_keys import mobile_key
from roamvpn.provision.agents import PLACE, agent_files, mobile_keys, server_files
from roamvpn.stores.tree import create
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.secrets import Secret, Secrets
from tests.documents import Documents

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.tables.site import Site


@pytest.fixture(scope="module")
def site() -> Site:
    return replace(Documents().site(), secrets=Secrets.model_validate({"site_key": "5a" * 32}))


def _keys(site: Site, name: str) -> dict[str, dict[str, dict[str, object]]]:
    found: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(agent_files(site, name)["mobility.yml"].text)
    return found


def test_two_agents_share_a_key_that_no_third_has(site: Site) -> None:
    fa, ha, pcn = (_keys(site, name)["associations"] for name in ("fa21", "ha31", "pcn41"))
    assert fa["ha31"] == ha["fa21"]
    theirs = str(fa["ha31"]["key"])
    assert theirs not in agent_files(site, "pcn41")["mobility.yml"].text
    assert (
        len({str(each["key"]) for ring in (fa, ha, pcn) for each in ring.values()}) == sum(map(len, (fa, ha, pcn))) - 3
    )


def test_only_a_home_agent_can_make_keys_of_mobiles(site: Site) -> None:
    assert "mobiles" in _keys(site, "ha31")
    assert "mobiles" not in _keys(site, "fa21")
    assert "mobiles" not in _keys(site, "pcn41")


def test_no_agent_learns_who_the_users_are(site: Site) -> None:
    for name in ("fa21", "ha31", "pcn41"):
        text = "".join(file.text for file in agent_files(site, name).values())
        assert "@" not in text
        assert "203.0.113.5" not in text


def test_secrets_stand_in_the_secret_file_alone(site: Site) -> None:
    files = agent_files(site, "ha31")
    assert [name for name, file in files.items() if file.secret] == ["mobility.yml"]
    ring = _keys(site, "ha31")
    key = str(ring["associations"]["fa21"]["key"])
    assert all(key not in file.text for name, file in files.items() if name != "mobility.yml")


def test_an_agent_reads_what_it_is_given(site: Site, tmp_path: Path) -> None:
    for name, file in agent_files(site, "fa21", run=str(tmp_path / "run")).items():
        text = file.text.replace(PLACE, str(tmp_path))
        create(tmp_path / name, text.encode(), 0o600 if file.secret else 0o644)
    setup = Setup.read(tmp_path / "agent.yml")
    assert setup.config.name == "fa21"
    assert setup.network.gateways == site.tables.network.gateways
    assert set(setup.keyring.associations) == {"fa21b", "fa22", "ha31", "pcn41", "pcn41b"}


def test_a_mobile_has_one_key_with_home_agent_and_one_with_the_aaah(site: Site) -> None:
    one = yaml.safe_load(mobile_keys(site, "alice@isp3.example").text)
    other = yaml.safe_load(mobile_keys(site, "bob@isp3.example").text)
    assert set(one) == {"mn-ha", "mn-aaa"}
    assert len({keys[use]["key"] for keys in (one, other) for use in keys}) == 4


@pytest.mark.parametrize("name", ["gw51", "nobody"])
def test_who_is_never_signalled_has_no_agent(site: Site, name: str) -> None:  # A2
    with pytest.raises(RoamvpnError, match=name):
        agent_files(site, name)


def test_a_home_server_verifies_mobiles_and_a_foreign_one_knows_no_key(site: Site) -> None:  # A4, RFC 4721
    home, foreign = server_files(site, "aaah33"), server_files(site, "aaaf23")
    assert [name for name, file in home.items() if file.secret] == ["mobiles.yml"]
    assert yaml.safe_load(home["aaa.yml"].text)["keys"] == f"{PLACE}/mobiles.yml"
    assert set(foreign) == {"aaa.yml"}
    root = Secret(bytes.fromhex(yaml.safe_load(home["mobiles.yml"].text)["mobiles"]))
    mine = yaml.safe_load(mobile_keys(site, "alice@isp3.example").text)["mn-aaa"]["key"]
    assert mobile_key(root, "alice@isp3.example").hex() == mine


def test_servers_know_whom_they_serve_and_where_home_is(site: Site) -> None:
    home, foreign = (yaml.safe_load(server_files(site, name)["aaa.yml"].text) for name in ("aaah33", "aaaf23"))
    peers = {peer["identity"]: peer for peer in foreign["diameter"]["peers"]}
    assert set(peers) == {"fa21.isp2.example", "fa21b.isp2.example", "aaah33.isp3.example"}
    assert peers["aaah33.isp3.example"]["host"] == "192.0.2.33"
    assert "host" not in peers["fa21.isp2.example"]
    assert {peer["identity"] for peer in home["diameter"]["peers"]} >= {"ha31.isp3.example", "aaaf23.isp2.example"}
    with pytest.raises(RoamvpnError, match="fa21"):
        server_files(site, "fa21")
