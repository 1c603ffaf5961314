"""The commands that show and start things, and what every command does with errors; reviews are in test_review."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from roamvpn import __version__
from roamvpn.cli import main
from roamvpn.engine import open_site
from roamvpn.schemas import SCHEMAS
from roamvpn.tables.types import Keying
from tests.documents import Documents
from tests.one_vpn import Vpn, documents, with_secrets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Done(NamedTuple):
    code: object
    out: str
    err: str


@pytest.fixture
def roamvpn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs the command line in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["roamvpn", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(left.value.code, captured.out, captured.err)

    return run


def _put(directory: Path, found: Documents) -> Path:
    directory.mkdir()
    for name, text in found.texts().items():
        (directory / name).touch(mode=0o600 if name == "secrets.yml" else 0o644)
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return _put(tmp_path / "site", with_secrets(Documents()))


def test_check_says_what_it_counted(roamvpn: Callable[..., Done], site: Path) -> None:
    done = roamvpn("check", site)
    assert done.code == 0
    assert re.search(
        r"7 gateways, 10 subscribers, 10 VPN records, 10 sessions, \d+ legs; 0 policy tests hold", done.out
    )
    assert "warning: encapsulation only, not encrypted: profile 6" in done.err
    assert json.loads(roamvpn("check", site, "--json").out)["ok"] is True


def test_check_names_every_problem_and_counts_them(roamvpn: Callable[..., Done], site: Path) -> None:
    for name, old, new in (
        ("network.yml", "number: 22", "number: 21"),
        ("vpn_database.yml", "upclass: ef", "upclass: gold"),
    ):
        text = (site / name).read_text()
        (site / name).write_text(text.replace(old, new, 1))
    done = roamvpn("check", site)
    assert done.code == 1
    assert done.out == ""
    assert re.search(r"error: network\.yml:\d+: gateways\.fa21b\.number: 21: is already the number of fa21\n", done.err)
    assert re.search(
        r"error: vpn_database\.yml:\d+: vpn_database\[0\]\.upclass: 'gold': is not a service class", done.err
    )
    assert done.err.endswith("2 problems; nothing was changed\n")


def test_warnings_tell_what_a_reviewer_must_know(tmp_path: Path) -> None:
    found = with_secrets(documents(Vpn(keying=Keying.STATIC)))
    found.records.append({"profile_number": 2, "nai": "bob@isp3.example", "vpnshare": 0, "destaddr": "192.0.2.250"})
    first, second = open_site(_put(tmp_path / "site", found)).warnings
    assert "vpn_database[1].destaddr: '192.0.2.250/32': has no CN-GW row" in first
    assert second.startswith("gw51: keying: static has no rekeying and no forward secrecy")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["--bogus"],
        ["plan", "--bogus"],
        ["plan", "SITE", "--against"],
        ["plan", "SITE", "extra"],
        ["plan", "SITE", "--since", "a", "--bundles", "b"],
        ["plan", "SITE", "--against", "/nonexistent"],
        ["plan", "SITE", "--bundles", "/nonexistent"],
        ["plan", "SITE", "--since", "nonsense"],
        ["diff", "SITE"],
        ["diff", "SITE", "/nonexistent"],
        ["render", "SITE"],
        ["render", "SITE", "-o", "/proc/x"],
        ["check", "/nonexistent"],
        ["show", "fa99", "SITE"],
        ["graph", "SITE", "-o", "fleet.png"],
        ["schema", "nonsense"],
        ["completion", "tcsh"],
        ["init"],
        ["init", "SITE"],
    ],
    ids=" ".join,
)
def test_every_error_exits_1_with_a_message_and_no_traceback(
    roamvpn: Callable[..., Done], site: Path, arguments: list[str]
) -> None:
    done = roamvpn(*(site if each == "SITE" else each for each in arguments))
    assert done.code in ((0, 1) if not arguments else (1,))
    assert done.err or done.out


def test_help_and_version_are_no_errors(roamvpn: Callable[..., Done]) -> None:
    assert roamvpn("--version").out == f"roamvpn, version {__version__}\n"
    assert "A first round:" in roamvpn("-h").out
    assert roamvpn("plan", "--help").code == 0


def test_init_copies_an_example_that_holds(roamvpn: Callable[..., Done], tmp_path: Path) -> None:
    done = roamvpn("init", tmp_path / "mine")
    assert done.code == 0
    assert "next: roamvpn secrets" in done.out
    assert not (tmp_path / "mine" / "secrets.yml").exists()
    assert roamvpn("secrets", tmp_path / "mine").code == 0
    assert roamvpn("check", tmp_path / "mine").code == 0


def test_show_prints_the_tables_of_a_gateway(roamvpn: Callable[..., Done], site: Path) -> None:  # B12 to B16
    text = roamvpn("show", "fa21", site).out
    for title in ("IPsec information", "ESP information", "tunnel information", "routes", "QoS filters"):
        assert f"fa21: {title}" in text
    found = json.loads(roamvpn("show", "fa21", site, "--json").out)
    assert found["gateway"] == "fa21"
    assert {row["table"] for row in found["routes"]} >= {"400000", "400001"}
    assert not re.search(r"[0-9a-f]{32}", text + json.dumps(found))


def test_graph_writes_a_picture_or_a_text(roamvpn: Callable[..., Done], site: Path, tmp_path: Path) -> None:
    drawn = roamvpn("graph", site).out
    assert ET.fromstring(drawn).tag.endswith("svg")  # noqa: S314 - our own
    done = roamvpn("graph", site, "-o", tmp_path / "fleet.svg")
    assert done.out.startswith(str(tmp_path / "fleet.svg"))
    assert (tmp_path / "fleet.svg").read_text() == drawn
    roamvpn("graph", site, "-o", tmp_path / "fleet.mmd")
    assert (tmp_path / "fleet.mmd").read_text() == roamvpn("graph", site, "--mermaid").out


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schema_prints_each_schema(roamvpn: Callable[..., Done], name: str) -> None:
    done = roamvpn("schema", name)
    assert done.code == 0
    assert json.loads(done.out)["title"] == f"roamvpn {name}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(roamvpn: Callable[..., Done], shell: str) -> None:
    assert "_ROAMVPN_COMPLETE" in roamvpn("completion", shell).out


def test_a_deployed_file_cannot_close_its_fence(roamvpn: Callable[..., Done], site: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert roamvpn("render", site, "-o", out).code == 0
    (leg,) = out.glob("fa21/session/legs/rv-p1-*")
    leg.write_text("```\n````\n</details>\n# <script>\n")
    text = roamvpn("plan", site, "--against", out, "--markdown").out
    (fence,) = re.findall(r"^(`{3,})diff$", text, re.MULTILINE)
    assert len(fence) == 5


def test_no_secret_of_a_site_is_in_any_output(roamvpn: Callable[..., Done], tmp_path: Path) -> None:
    found = with_secrets(documents(Vpn(keying=Keying.STATIC)))
    site, out = _put(tmp_path / "site", found), tmp_path / "out"
    assert roamvpn("render", site, "-o", out).code == 0
    # everything new, and everything changed by another site key
    outputs = [roamvpn("plan", site, *options) for options in ([], ["--json"], ["--markdown"])]
    assert found.secrets is not None
    found.secrets["site_key"] = "7e" * 32
    (site / "secrets.yml").write_text(found.texts()["secrets.yml"])
    outputs += [roamvpn("plan", site, "--against", out, *options) for options in ([], ["--json"], ["--markdown"])]
    outputs += [roamvpn("diff", out, tmp_path), roamvpn("check", site), roamvpn("show", "gw51", site, "--json")]
    outputs.append(roamvpn("render", site, "-o", out))
    for done in outputs:
        # digests are at most 32 digits long, keys 64
        assert not re.search(r"[0-9a-fA-F]{33}", done.out + done.err)


def test_a_reader_that_goes_away_is_no_traceback(site: Path) -> None:
    command = [sys.executable, "-m", "roamvpn", "plan", str(site)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 1
