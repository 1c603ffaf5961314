"""check, plan, render and diff as a reviewer meets them: exit codes, summaries, masked secrets, every side."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import jsonschema
import pytest

from roamvpn.schemas import schema_text
from roamvpn.stores.templates import example_site

if TYPE_CHECKING:
    from pathlib import Path

_GRACE = """
  - {profile_number: 11, nai: grace@isp3.example, vpnshare: 1, destaddr: 198.51.100.7, upclass: ef, downclass: none,
     up_spi: 0x2001, down_spi: 0x2002}
"""


_HEIDI = """
  - {profile_number: 12, nai: heidi@isp3.example, vpnshare: 1, destaddr: 10.5.7.0/24, upclass: ef, downclass: none,
     up_spi: 0x2003, down_spi: 0x2004}
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str


def roamvpn(*arguments: object, cwd: Path | None = None) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "roamvpn", *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    assert roamvpn("init", directory).code == 0
    assert roamvpn("secrets", directory).code == 0
    return directory


@pytest.fixture
def deployed(site: Path, tmp_path: Path) -> Path:
    out = tmp_path / "deployed"
    assert roamvpn("render", site, "-o", out).code == 0
    return out


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text().rstrip("\n") + text)


def test_without_changes_plan_says_so_and_exits_0(site: Path, deployed: Path) -> None:
    done = roamvpn("plan", site, "--against", deployed)
    assert (done.code, done.out) == (0, "no changes\n")


def test_one_user_added_is_one_leg_file_a_gateway(site: Path, deployed: Path) -> None:
    _append(site / "vpn_database.yml", _GRACE)
    done = roamvpn("plan", site, "--against", deployed)
    assert done.code == 2
    assert done.out.splitlines()[-1] == "2 gateways change: 2 legs added, 0 removed, 0 replaced"
    files = re.findall(r"^\+\+\+ b/(\S+)$", done.out, re.MULTILINE)
    assert [re.sub(r"-u\w{8}", "", name) for name in files] == [
        "fa21/session/legs/rv-p11-pcn41.conf",
        "fa21/session/secrets/rv-p11-pcn41.conf",
        "pcn41/session/legs/rv-p11-fa21.conf",
        "pcn41/session/secrets/rv-p11-fa21.conf",
    ]
    assert "--- a/" not in done.out


def test_a_user_who_moves_changes_no_file_of_the_static_gateway(site: Path, deployed: Path) -> None:
    sessions = site / "sessions.yml"
    sessions.write_text(
        sessions.read_text().replace(
            "alice@isp3.example, foreign_agent: fa21}", "alice@isp3.example, foreign_agent: fa22}"
        )
    )
    done = roamvpn("plan", site, "--against", deployed, "--summary")
    assert done.out == "3 gateways change: 2 legs added, 2 removed, 0 replaced\n"
    assert "gw51" not in roamvpn("plan", site, "--against", deployed).out  # F2


def test_a_class_that_changes_replaces_legs(site: Path, deployed: Path) -> None:
    database = site / "vpn_database.yml"
    database.write_text(database.read_text().replace("upclass: ef", "upclass: af11", 1))
    (site / "policy_tests.yml").unlink()
    done = roamvpn("plan", site, "--against", deployed, "--summary")
    assert done.out == "2 gateways change: 0 legs added, 0 removed, 2 replaced\n"


def test_no_secret_is_ever_shown_and_a_rotated_one_is_one_line(site: Path, deployed: Path) -> None:
    path = site / "secrets.yml"
    old = re.search(r"psk: '?([0-9a-f]{64})", path.read_text())
    assert old is not None
    path.write_text(path.read_text().replace(old[1], "5e" * 32))
    for options in ([], ["--json"], ["--markdown"]):
        done = roamvpn("plan", site, "--against", deployed, *options)
        assert done.code == 2
        assert not re.search(r"[0-9a-f]{64}", done.out + done.err)
    plain = roamvpn("plan", site, "--against", deployed).out
    changed = [line for line in plain.splitlines() if re.match(r"[+-](?![+-])", line)]
    gateways = set(re.findall(r"^\+\+\+ b/(\w+)/", plain, re.MULTILINE))
    assert len(changed) == 2 * len(gateways)
    assert all("secret = <secret " in line for line in changed)
    assert len(set(changed)) == 2
    assert plain.splitlines()[-1].endswith("0 replaced; 2 secrets replaced")


def test_an_edited_file_and_an_edited_secret_show(site: Path, deployed: Path) -> None:
    leg = next((deployed / "fa21/session/legs").glob("rv-p1-*"))
    leg.write_text(leg.read_text().replace("version = 2", "version = 1"))
    secret = next((deployed / "fa21b/session/secrets").glob("rv-p3-*"))
    secret.write_text(re.sub("0x[0-9a-f]+", "0x" + "00" * 32, secret.read_text()))
    done = roamvpn("plan", site, "--against", deployed)
    assert "-    version = 1\n+    version = 2" in done.out
    assert done.out.count("secret = <secret ") == 2
    # and rendering again mends them
    roamvpn("render", site, "-o", deployed)
    assert roamvpn("plan", site, "--against", deployed).code == 0


def test_a_file_that_is_gone_shows_as_added(site: Path, deployed: Path) -> None:
    next((deployed / "fa21/session/legs").glob("rv-p1-*")).unlink()
    assert "1 gateway changes: 1 leg added" in roamvpn("plan", site, "--against", deployed).out


def test_bundles_are_compared_unopened(site: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for bundles in (first, second):
        roamvpn("render", site, "-o", tmp_path / f"tree-{bundles.name}", "--bundles", bundles)
    assert roamvpn("plan", site, "--bundles", first).code == 0
    for path in first.glob("*.tar"):
        assert path.read_bytes() == (second / path.name).read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    _append(site / "vpn_database.yml", _GRACE)
    assert "2 gateways change: 2 legs added" in roamvpn("plan", site, "--bundles", first).out


def test_a_branch_is_compared_with_a_revision(site: Path) -> None:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    author = ["-c", "user.name=t", "-c", "user.email=t@example.net"]
    for arguments in (["init", "-q"], ["add", "network.yml", "cn_gw_table.yml", "vpn_database.yml", "sessions.yml"]):
        subprocess.run(["git", *author, *arguments], cwd=site, env=environment, check=True)
    subprocess.run(["git", *author, "commit", "-qm", "site"], cwd=site, env=environment, check=True)
    assert roamvpn("plan", site, "--since", "HEAD").code == 0
    _append(site / "vpn_database.yml", _GRACE)
    done = roamvpn("plan", site, "--since", "HEAD")
    assert (done.code, done.out.splitlines()[-1]) == (2, "2 gateways change: 2 legs added, 0 removed, 0 replaced")
    for revision in ("nonsense", "--help", "-x", "$(id)"):
        wrong = roamvpn("plan", site, f"--since={revision}")
        assert wrong.code == 1
        assert "error:" in wrong.err


def test_a_review_needs_no_secrets(site: Path, deployed: Path) -> None:
    (site / "secrets.yml").unlink()
    done = roamvpn("plan", site, "--against", deployed)
    assert "secrets are not compared" in done.err
    assert (done.code, done.out) == (0, "no changes\n")
    assert roamvpn("render", site, "-o", deployed).code == 1


def test_json_is_what_its_schema_says(site: Path, deployed: Path) -> None:
    _append(site / "vpn_database.yml", _GRACE)
    done = roamvpn("plan", site, "--against", deployed, "--json")
    plan = json.loads(done.out)
    jsonschema.Draft202012Validator(json.loads(schema_text("plan"))).validate(plan)
    assert plan["summary"]["legs_added"] == 2
    assert done.out == roamvpn("plan", site, "--against", deployed, "--json").out
    manifest = json.loads((deployed / "fa21/manifest.json").read_text())
    jsonschema.Draft202012Validator(json.loads(schema_text("manifest"))).validate(manifest)


def test_markdown_folds_each_gateway(site: Path, deployed: Path) -> None:
    _append(site / "vpn_database.yml", _GRACE)
    done = roamvpn("plan", site, "--against", deployed, "--markdown")
    assert done.out.startswith("### roamvpn plan: 2 gateways change: 2 legs added, 0 removed, 0 replaced\n")
    assert done.out.count("<details>") == done.out.count("</details>") == 2
    assert "| fa21 | 1 | 0 | 0 | 2 |" in done.out


def test_limit_names_gateways_that_exist(site: Path, deployed: Path) -> None:
    _append(site / "vpn_database.yml", _GRACE)
    assert "1 gateway changes" in roamvpn("plan", site, "--against", deployed, "--limit", "fa21").out
    done = roamvpn("plan", site, "--against", deployed, "--limit", "fa99")
    assert done.code == 1
    assert "fa99" in done.err


def test_two_trees_are_compared_without_an_inventory(site: Path, deployed: Path, tmp_path: Path) -> None:
    assert roamvpn("diff", deployed, deployed).code == 0
    _append(site / "vpn_database.yml", _GRACE)
    roamvpn("render", site, "-o", tmp_path / "new")
    done = roamvpn("diff", deployed, tmp_path / "new")
    assert done.code == 2
    assert "2 gateways change" in done.out
    assert not re.search(r"[0-9a-f]{64}", done.out)


def test_wrong_usage_is_an_error_and_no_change(site: Path) -> None:
    for arguments in (
        ["plan", "--bogus"],
        ["plan", site, "--since", "a", "--against", "b"],
        ["nonsense"],
        ["check", "/x"],
    ):
        assert roamvpn(*arguments).code == 1


def test_a_policy_test_that_fails_stops_check_and_plan(site: Path, deployed: Path) -> None:
    path = site / "policy_tests.yml"
    path.write_text(path.read_text().replace("upclass: ef, downclass: af41", "upclass: af11, downclass: af41", 1))
    for done in (
        roamvpn("check", site),
        roamvpn("plan", site, "--against", deployed),
        roamvpn("render", site, "-o", deployed),
    ):
        assert done.code == 1
        assert re.search(r"policy_tests.yml:\d+: policy_tests\[0\]: .*upclass is ef, expected af11", done.err)


def test_bad_input_changes_nothing(site: Path, deployed: Path) -> None:
    before = {path: path.read_bytes() for path in deployed.rglob("*") if path.is_file()}
    _append(site / "vpn_database.yml", "\n  - {profile_number: 1}\n")
    done = roamvpn("render", site, "-o", deployed)
    assert done.code == 1
    assert "problems; nothing was changed" in done.err
    assert {path: path.read_bytes() for path in deployed.rglob("*") if path.is_file()} == before


def test_check_reports_problems_to_machines_too(site: Path) -> None:
    _append(site / "vpn_database.yml", "\n  - {profile_number: 1}\n")
    found = json.loads(roamvpn("check", site, "--json").out)
    assert found["ok"] is False
    assert {"file", "line", "field", "value", "message", "severity"} == set(found["problems"][0])


def test_secrets_are_created_closed_and_kept(site: Path) -> None:
    path = site / "secrets.yml"
    before = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "complete" in roamvpn("secrets", site).out
    assert path.read_text() == before
    path.chmod(0o644)
    assert "readable by others" in roamvpn("check", site).err


def test_an_encrypted_secrets_file_is_read_with_its_password_file(site: Path, deployed: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    vault = [os.path.join(os.path.dirname(sys.executable), "ansible-vault"), "encrypt", "--vault-password-file"]  # noqa: PTH118, PTH120
    subprocess.run([*vault, str(password), str(site / "secrets.yml")], check=True, capture_output=True)
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in roamvpn("check", site).err
    environment = {**os.environ, "ANSIBLE_VAULT_PASSWORD_FILE": str(password)}
    done = subprocess.run(
        [sys.executable, "-m", "roamvpn", "plan", str(site), "--against", str(deployed)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "no changes\n")
    # a key that is missing is never added in clear
    _append(site / "vpn_database.yml", _HEIDI)
    encrypted = (site / "secrets.yml").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "roamvpn", "secrets", str(site)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "lacks sla.gw51.profiles.12" in done.stderr
    assert (site / "secrets.yml").read_bytes() == encrypted


def test_every_command_explains_itself() -> None:
    for name in ("check", "plan", "render", "diff", "graph", "show", "schema", "secrets", "init", "completion"):
        done = roamvpn(name, "--help")
        assert done.code == 0
        assert len(done.out) > 300, name
    assert "_roamvpn_completion" in roamvpn("completion", "bash").out


def test_the_example_needs_no_checkout(tmp_path: Path) -> None:
    assert example_site().is_dir()
    assert roamvpn("check", example_site(), cwd=tmp_path).code == 0
