"""`roamvpn aaa` as systemd runs it: ready when it serves, reloads on SIGHUP, ends cleanly on SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner

from roamvpn.aaa.command import aaa
from roamvpn.aaa.config import Setup
from roamvpn.tables.problems import InputError, RoamvpnError
from tests.aaa_servers import write_site
from tests.diameter_peers import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AAAH33 = "aaah33.isp3.example"


def configuration(directory: Path, **more: object) -> Path:
    """A home server's file, with TLS."""
    site = directory / "site"
    if not site.exists():
        write_site(site)
    document = {
        "name": "aaah33",
        "site": str(site),
        "state": str(directory / "state"),
        "run": str(directory / "run"),
        "diameter": {
            "peers": [{"identity": "aaaf23.isp2.example"}],
            "listen": [{"host": "127.0.0.1", "port": 0}],
            "tls": Authority(directory).files(AAAH33).model_dump(),
        },
        **more,
    }
    path = directory / "aaa.yml"
    path.write_text(yaml.safe_dump(document))
    return path


class Systemd:
    """The socket on which a daemon says how it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(30)

    def next(self) -> str:
        return self._socket.recv(4096).decode()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    found = Systemd(tmp_path / "notify")
    yield found
    found.close()


def test_a_daemon_is_ready_reloads_and_ends_cleanly(tmp_path: Path, systemd: Systemd) -> None:
    config = configuration(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-m", "roamvpn", "aaa", "--config", str(config)],
        env={**os.environ, "NOTIFY_SOCKET": str(systemd.path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert systemd.next().startswith("READY=1")
            assert (tmp_path / "run" / "aaah33.sock").is_socket()
            process.send_signal(signal.SIGHUP)
            assert systemd.next().startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert systemd.next() == "READY=1"
            process.terminate()
            assert systemd.next() == "STOPPING=1"
            _, log = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["event"] for line in lines if line["event"] != "restored"] == ["serves", "tables taken up", "stopped"]
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "sessions.db").stat().st_mode & 0o777 == 0o600


def test_check_says_that_all_is_well(tmp_path: Path) -> None:
    result = CliRunner().invoke(aaa, ["--config", str(configuration(tmp_path)), "--check"])
    assert (result.exit_code, result.output.strip()) == (0, f"{tmp_path}/aaa.yml: aaah33 can serve")


def test_check_finds_certificates_that_do_not_hold(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    (tmp_path / f"{AAAH33}.pem").write_text("no certificate")
    result = CliRunner().invoke(aaa, ["--config", str(config), "--check"])
    assert isinstance(result.exception, RoamvpnError)
    assert "TLS" in str(result.exception)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        diameter = {"peers": [], "listen": [{"host": "127.0.0.1", "port": port, "tls": False}]}
        result = CliRunner().invoke(aaa, ["--config", str(configuration(tmp_path, diameter=diameter))])
    assert isinstance(result.exception, RoamvpnError)
    assert "in use" in str(result.exception)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    peers = [{"identity": "no host name"}, {"identity": "a.b", "port": 0}]
    wrong = configuration(tmp_path, name="Capital", unknown=1, log_level="loud", diameter={"peers": peers})
    with pytest.raises(InputError) as caught:
        Setup.read(wrong)
    fields = {problem.field for problem in caught.value.problems}
    assert {"name", "unknown", "log_level"} <= fields
    assert len([each for each in fields if each.startswith("diameter")]) == 2


def test_a_name_that_is_no_aaa_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no AAA server"):
        Setup.read(configuration(tmp_path, name="fa21"))
