"""A real charon tells of a remote-access user who comes and goes, and it becomes events.

Two of them with their IPsec in user space: what matters here is what they say, not what they encrypt.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from roamvpn.agent.adapters import Here, from_vici
from roamvpn.gateway.vici import Vici, _event
from tests.hooked import AGENT
from tests.namespaces import inside, namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

REGISTER, CONFIRM, EVENT = 3, 5, 7
SECRETS = """
secrets {
  eap-alice {
    id = alice@isp3.example
    secret = "of alice"
  }
  ike-gateway {
    id = gateway.example
    secret = "of the gateway"
  }
}
"""
GATEWAY = """
connections {
  roadwarriors {
    version = 2
    local_addrs = 192.0.2.1
    pools = homes
    local {
      auth = psk
      id = gateway.example
    }
    remote {
      auth = eap-mschapv2
      eap_id = %any
    }
    children {
      net {
        local_ts = 10.5.0.0/16
      }
    }
  }
}
pools {
  homes {
    addrs = 10.3.0.11/32
  }
}
"""
LAPTOP = """
connections {
  home {
    version = 2
    remote_addrs = 192.0.2.1
    vips = 0.0.0.0
    local {
      auth = eap-mschapv2
      id = laptop.example
      eap_id = alice@isp3.example
    }
    remote {
      auth = psk
      id = gateway.example
    }
    children {
      net {
        remote_ts = 10.5.0.0/16
      }
    }
  }
}
"""


@contextmanager
def charon(directory: Path, pid: int, settings: str) -> Iterator[Path]:
    """A charon in the namespace, with its configuration loaded; yields its vici socket."""
    directory.mkdir()
    vici = directory / "vici"
    (directory / "strongswan.conf").write_text(
        "charon-systemd {\n load = random nonce aes sha1 sha2 md4 hmac kdf gcm openssl curve25519 kernel-libipsec"
        " kernel-netlink socket-default vici eap-identity eap-mschapv2\n install_routes = no\n"
        f" plugins {{ vici {{ socket = unix://{vici} }} }}\n journal {{ default = -1 }}\n}}\n"
        f"swanctl {{\n socket = unix://{vici}\n}}\n"
    )
    (directory / "swanctl.conf").write_text(settings + SECRETS)
    environment = {**os.environ, "STRONGSWAN_CONF": str(directory / "strongswan.conf"), "SWANCTL_DIR": str(directory)}
    daemon = subprocess.Popen(
        ["nsenter", "-t", str(pid), "-n", "/usr/sbin/charon-systemd"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not vici.exists():
            assert daemon.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)  # nothing announces a socket that is not there yet
        swanctl(directory, "--load-all", "--noprompt")
        yield vici
    finally:
        daemon.terminate()
        daemon.wait(10)


def swanctl(directory: Path, *arguments: str) -> None:
    environment = {**os.environ, "STRONGSWAN_CONF": str(directory / "strongswan.conf"), "SWANCTL_DIR": str(directory)}
    command = ["swanctl", *arguments]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def heard(vici: Vici) -> Mapping[str, object]:
    """The next child-updown."""
    while True:
        kind, body = vici._receive()
        if kind == EVENT:
            return _event(body)[1]


def test_a_user_who_connects_and_leaves_becomes_events(tmp_path: Path) -> None:
    with namespace() as near, namespace() as far:
        inside(near, "ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(far))
        for pid, name, address in ((near, "near", "192.0.2.1/24"), (far, "far", "192.0.2.2/24")):
            inside(pid, "ip", "address", "add", address, "dev", name)
            inside(pid, "ip", "link", "set", name, "up")
        # IPsec in user space wants an address on either side of a tunnel
        inside(near, "ip", "address", "add", "10.5.0.1/16", "dev", "lo")
        laptop = tmp_path / "laptop"
        with (
            charon(tmp_path / "gateway", near, GATEWAY) as socket,
            charon(laptop, far, LAPTOP),
            Vici(str(socket)) as vici,
        ):
            vici._send(REGISTER, "child-updown", b"")
            vici._expect(CONFIRM, "child-updown")
            swanctl(laptop, "--initiate", "--child", "net")
            up = heard(vici)
            swanctl(laptop, "--terminate", "--ike", "home")
            down = heard(vici)
    here, connections, now = Here(AGENT, lambda _address: None), frozenset({"roadwarriors"}), time.time_ns()
    (came,) = from_vici(up, connections, now, here)
    (left,) = from_vici(down, connections, now + 1_000_000, here)
    assert (came.type, left.type) == ("register", "deregister")
    # the user whom EAP proved, not the laptop's name, which is only claimed
    assert {came.nai, left.nai} == {"alice@isp3.example"}
    assert {came.home_addr, left.home_addr} == {"10.3.0.11"}
    assert came.session_id == left.session_id
    assert came.evidence == {"connection": "roadwarriors", "remote_host": "192.0.2.2"}
    assert from_vici(up, frozenset(), now, here) == []
