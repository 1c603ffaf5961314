"""How playbooks behave as Ansible's users expect, on stand-ins; on real gateways see tests/lab."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.ansible.conftest import make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ansible.conftest import Ground

ALL = ["fa21", "fa21b", "fa22", "gw51", "ha31", "pcn41", "pcn41b"]


@pytest.fixture(scope="module")
def deployed_once(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    found = make(tmp_path_factory.mktemp("deployed"))
    done = found.play("site")
    assert done.code == 0, done.text
    assert done.changed == ALL
    return found


@pytest.fixture
def deployed(deployed_once: Ground) -> Iterator[Ground]:
    """Stand-ins with the example network; each test leaves them so."""
    kept = deployed_once.work / "kept"
    shutil.copytree(deployed_once.site, kept, symlinks=True)
    roots = deployed_once.work / "stand-ins"
    shutil.copytree(roots, kept / "roots", symlinks=True)
    yield deployed_once
    shutil.rmtree(roots)
    shutil.move(kept / "roots", roots)
    shutil.rmtree(deployed_once.site)
    shutil.move(kept, deployed_once.site)


def test_a_second_run_changes_nothing(deployed: Ground) -> None:
    done = deployed.play("site")
    assert (done.code, done.changed) == (0, [])


def test_plan_exits_0_without_changes_and_2_with_changes(deployed: Ground) -> None:
    assert deployed.play("plan").code == 0
    deployed.edit("vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    before = {name: deployed.generation(name) for name in ALL}
    done = deployed.play("plan")
    assert done.code == 2
    assert "3 gateways change: 0 legs added, 0 removed, 4 replaced" in done.text
    assert "+++ b/fa21/session/legs/rv-p9-" in done.text
    assert {name: deployed.generation(name) for name in ALL} == before


def test_plan_exits_1_where_there_is_no_plan(deployed: Ground) -> None:
    (deployed.site / "secrets.yml").unlink()
    done = deployed.play("plan")
    assert done.code == 1
    assert "no secrets.yml" in done.text


def test_only_gateways_of_the_plan_are_touched(deployed: Ground) -> None:
    deployed.edit("vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    done = deployed.play("site")
    assert (done.code, done.changed) == (0, ["fa21", "gw51", "ha31"])
    assert done.text.count("TASK [roamvpn.gateway.bundle : Activate and confirm]") == 2, "a canary, then the others"


def test_limit_leaves_the_others_for_later(deployed: Ground) -> None:
    deployed.edit("vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    assert deployed.play("site", "--limit", "ha31").changed == ["ha31"]
    assert deployed.play("site").changed == ["fa21", "gw51"]


def test_check_and_diff_show_what_would_change_and_change_nothing(deployed: Ground) -> None:
    deployed.edit("vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    before = {name: deployed.generation(name) for name in ALL}
    done = deployed.play("site", "--check", "--diff")
    assert (done.code, done.changed) == (0, ["fa21", "gw51", "ha31"])
    for name in ("fa21", "gw51", "ha31"):
        assert done.text.count(f"+++ b/{name}/") >= 1
    assert {name: deployed.generation(name) for name in ALL} == before


def test_a_canary_comes_first(deployed: Ground) -> None:
    deployed.edit("vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    done = deployed.play("site", "-e", "roamvpn_canary=ha31")
    order = re.findall(r"Activate and confirm\] \*+\nchanged: \[(\w+)\]", done.text)
    assert order[0] == "ha31"
    assert deployed.play("site", "-e", "roamvpn_canary=nobody").code == 2


def test_tags_leave_steps_out(deployed: Ground) -> None:
    done = deployed.play("site", "-e", "roamvpn_everything=true", "--tags", "pki")
    assert done.code == 0, done.text
    assert "Activate and confirm" not in done.text


def test_a_free_strategy_changes_the_same(deployed: Ground) -> None:
    deployed.edit("vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_STRATEGY", "free")
        done = deployed.play("site")
    assert (done.code, done.changed) == (0, ["fa21", "gw51", "ha31"]), done.text


def test_the_reviewed_plan_is_applied_and_no_other(deployed: Ground) -> None:
    deployed.edit("vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    (digest,) = set(re.findall(r"plan digest (\w+)", deployed.play("plan").text))
    deployed.edit("vpn_database.yml", "destaddr: 10.5.3.0/24", "destaddr: 10.5.4.0/24")
    before = {name: deployed.generation(name) for name in ALL}
    done = deployed.play("site", "-e", f"roamvpn_digest={digest}")
    assert done.code == 2
    assert f"asked for was {digest}" in done.text
    assert "10.5.4.0/24" in done.text
    assert {name: deployed.generation(name) for name in ALL} == before
    deployed.edit("vpn_database.yml", "destaddr: 10.5.4.0/24", "destaddr: 10.5.3.0/24")
    assert deployed.play("site", "-e", f"roamvpn_digest={digest}").code == 0


def test_rollback_goes_back_and_site_goes_forth_again(deployed: Ground) -> None:
    first = deployed.generation("fa21")
    deployed.edit("vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    assert deployed.play("site").code == 0
    second = deployed.generation("fa21")
    assert deployed.play("rollback", "--limit", "fa21").changed == ["fa21"]
    assert deployed.generation("fa21") == first
    done = deployed.play("site")
    assert (done.code, done.changed) == (0, ["fa21"])
    assert deployed.generation("fa21") == second


def test_a_gateway_that_somebody_else_changed_is_asked_before_the_next_plan(deployed: Ground) -> None:
    deployed.edit("vpn_database.yml", "destaddr: 10.5.2.0/24", "destaddr: 10.5.3.0/24")
    shutil.rmtree(deployed.work / "stand-ins/fa21/var/lib/roamvpn")
    done = deployed.play("site", "--limit", "fa21")
    assert done.code == 2
    assert "runs generation none, planned against" in done.text
    assert deployed.play("site", "--limit", "fa21").code == 0
    assert deployed.generation("fa21") is not None


def test_verify_lists_a_file_that_was_edited(deployed: Ground) -> None:
    assert deployed.play("verify").code == 0
    path = deployed.work / "stand-ins/fa21/var/lib/roamvpn/current/base/qos.tc"
    path.write_text(path.read_text() + "# edited\n")
    done = deployed.play("verify")
    assert done.code == 2
    assert "file base/qos.tc changed" in done.text


def test_decommission_wants_the_name_twice(deployed: Ground) -> None:
    assert deployed.play("decommission", "--limit", "fa22").code == 2
    assert deployed.generation("fa22") is not None


def test_keys_are_rotated_in_three_steps(deployed: Ground) -> None:
    before = (deployed.site / "secrets.yml").read_text()
    done = deployed.play("rotate_keys")
    assert done.code == 0, done.text
    assert (deployed.site / "secrets.yml").read_text() != before
    assert deployed.play("site").changed == []


def test_rotation_of_secrets_in_a_vault_keeps_them_in_the_vault(deployed: Ground) -> None:
    password = deployed.work / "password"
    password.write_text("correct horse\n")
    vault = ["--vault-password-file", str(password)]
    assert deployed.ansible("ansible-vault", "encrypt", *vault, str(deployed.site / "secrets.yml")).code == 0
    done = deployed.play("rotate_keys", *vault)
    assert done.code == 0, done.text
    assert (deployed.site / "secrets.yml").read_text().startswith("$ANSIBLE_VAULT;")
    assert deployed.play("site", *vault).changed == []


def test_no_secret_is_shown_at_highest_verbosity(deployed: Ground) -> None:
    digits = set(re.findall(r"\b[0-9a-f]{64}\b", (deployed.site / "secrets.yml").read_text()))
    digits |= {
        found
        for path in (deployed.site / ".roamvpn/deployed").glob("*/*/secrets/*.conf")
        for found in re.findall(r"0x([0-9a-f]{64})", path.read_text())
    }
    assert len(digits) > 5
    done = deployed.play("site", "-vvvv", "--diff", "-e", "roamvpn_everything=true", "--skip-tags", "base")
    assert done.code == 0, done.text
    assert not [each[:6] for each in digits if each in done.text]
    assert "PRIVATE KEY" not in done.text
