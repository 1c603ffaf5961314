from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.ansible.conftest import BIN

if TYPE_CHECKING:
    from tests.ansible.conftest import Ground


def _listed(ground: Ground, *arguments: str) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    done = ground.ansible("ansible-inventory", "-i", str(ground.site / "roamvpn.yml"), "--list", *arguments)
    assert done.code == 0, done.text
    found: dict[str, dict[str, dict[str, dict[str, object]]]] = json.loads(done.text[done.text.index("{") :])
    return found


@pytest.mark.parametrize(
    ("group", "hosts"),
    [
        ("gateways", ["fa21", "fa21b", "fa22", "gw51", "ha31", "pcn41", "pcn41b"]),
        ("foreign_agents", ["fa21", "fa21b", "fa22"]),
        ("home_agents", ["ha31"]),
        ("proxy_cns", ["pcn41", "pcn41b"]),
        ("static_gateways", ["gw51"]),
        ("aaa_home", ["aaah33"]),
        ("aaa_foreign", ["aaaf23", "aaaf23b"]),
        ("domain_isp2", ["aaaf23", "fa21", "fa21b"]),
        ("tenant_acme", ["gw51", "ha31"]),
        ("tenant_globex", ["ha31", "pcn41b"]),
    ],
)
def test_groups_are_derived_from_the_network(ground: Ground, group: str, hosts: list[str]) -> None:
    assert sorted(_listed(ground)[group]["hosts"]) == hosts


def test_a_gateway_is_reached_at_its_management_address(ground: Ground) -> None:
    ground.edit("network.yml", "address: 192.0.2.21\n", "address: 192.0.2.21\n    management: 10.99.0.21\n")
    variables = _listed(ground)["_meta"]["hostvars"]
    # what Ansible prints of a text that it would not template
    assert variables["fa21"]["ansible_host"] == {"__ansible_unsafe": "10.99.0.21"}
    assert variables["fa21b"]["ansible_host"] == {"__ansible_unsafe": "192.0.2.22"}


def test_texts_of_tables_are_never_templated(ground: Ground) -> None:
    # a directory is the one text of an operator's that reaches a variable without a pattern of its own
    odd = ground.work / "{{ lookup('pipe', 'touch touched') }}"
    ground.site.rename(odd)
    moved = odd / "roamvpn.yml"
    done = ground.ansible(
        "ansible",
        "-i",
        str(moved),
        "fa21",
        "-c",
        "local",
        "-m",
        "ansible.builtin.debug",
        "-a",
        "msg={{ roamvpn_site }}",
    )
    assert done.code == 0, done.text
    assert "lookup('pipe'" in done.text
    assert not list(ground.work.rglob("touched"))


def test_a_site_that_does_not_hold_fails_loudly_with_the_messages_of_check(ground: Ground) -> None:
    ground.edit("network.yml", "home_agent: ha31, tenant: acme}", "home_agent: nobody, tenant: acme}")
    ground.edit("vpn_database.yml", "vpnshare: 1", "vpnshare: 7")
    check = subprocess.run(
        [str(BIN / "roamvpn"), "check", str(ground.site)], capture_output=True, text=True, check=False
    )
    problems = re.findall(r"\w+\.yml:\d+: .*", check.stderr)
    assert len(problems) >= 2
    for done in (
        ground.ansible("ansible-inventory", "-i", str(ground.site / "roamvpn.yml"), "--list"),
        ground.play("site"),
        ground.play("plan"),
    ):
        assert done.code == 1
        shown = " ".join(done.text.split())
        assert all(" ".join(problem.split()) in shown for problem in problems), done.text


def test_a_broken_site_fails_without_any_configuration_of_ansible(ground: Ground) -> None:
    ground.edit("network.yml", "site: example", "site: [")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "false")
        assert ground.play("site").code == 1


def test_secrets_in_a_vault_are_read_with_the_passwords_of_the_run(ground: Ground) -> None:
    password = ground.work / "password"
    password.write_text("correct horse\n")
    secrets = ground.site / "secrets.yml"
    done = ground.ansible("ansible-vault", "encrypt", "--vault-password-file", str(password), str(secrets))
    assert done.code == 0, done.text
    assert ground.play("plan").code == 1
    done = ground.play("plan", "--vault-password-file", str(password))
    assert done.code == 2, done.text
    assert "7 gateways change" in done.text
