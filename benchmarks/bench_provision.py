"""Playbook runs over stand-in gateways on this machine: all new, nothing changed, one user added.

    python -m benchmarks.bench_provision [--hosts 100] [--ordinary 10] [--growth 1000]

A stand-in is a directory: `roamvpn-gateway --root DIRECTORY` unpacks, checks and switches there as on a gateway,
without a kernel and a charon; Ansible's connection is `local`. The ordinary role brings the same files with stock
`template` tasks and a handler. It takes the same time for every host, so it is run on fewer and its time multiplied.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.fleet import documents
from benchmarks.stand_ins import prepare
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import read_site
from roamvpn.tables.site import load_site

_CHECKOUT = Path(__file__).resolve().parents[1]
_BIN = Path(sys.executable).parent
_ORDINARY = """
- hosts: gateways
  gather_facts: false
  tasks:
    - name: Bring a file
      ansible.builtin.template:
        src: "{{ trees }}/{{ inventory_hostname }}/{{ item }}"
        dest: "{{ roots }}/{{ inventory_hostname }}/{{ item }}"
        mode: "0600"
      loop: "{{ files[inventory_hostname] }}"
      notify: Reload
  handlers:
    - name: Reload
      ansible.builtin.command: "true"
"""


class Stand:
    """A site with its stand-ins."""

    def __init__(self, work: Path, hosts: int, dynamic: int, static: int) -> None:
        self.site = work / "site"
        self.site.mkdir(parents=True)
        self.files = documents(hosts, dynamic, static)
        self._write()
        (self.site / "roamvpn.yml").write_text("plugin: roamvpn.gateway.roamvpn\n")
        complete_secrets(self.site / "secrets.yml", load_site(read_site(self.site)).tables)
        self.gateways = sorted(load_site(read_site(self.site)).tables.network.gateways)
        self._variables = json.dumps({**prepare(self.site, work), "roamvpn_serial": "100%"})

    def _write(self) -> None:
        for name, document in self.files.items():
            (self.site / name).write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False))

    def add_user(self) -> None:
        """One more record, of a user who is there."""
        records = self.files["vpn_database.yml"]["vpn_database"]
        assert isinstance(records, list)
        row = {
            "profile_number": 900_000,
            "nai": records[1]["nai"],
            "vpnshare": 0,
            "destaddr": "10.0.1.7",
            "upclass": "ef",
        }
        records.append(row)
        self._write()

    def play(self, *arguments: str) -> tuple[float, int, str]:
        """Seconds, peak resident size in kB, and output of a run of `site`."""
        return _timed(["-i", str(self.site / "roamvpn.yml"), "roamvpn.gateway.site", "-e", self._variables, *arguments])


def _timed(arguments: list[str]) -> tuple[float, int, str]:
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(_CHECKOUT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(_CHECKOUT / "collections"),
        "ANSIBLE_NOCOLOR": "1",
    }
    started = time.perf_counter()
    done = subprocess.run(
        [str(_BIN / "ansible-playbook"), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stdout


def _ordinary(stand: Stand, work: Path, hosts: int) -> list[float]:
    """Seconds for all hosts: all new, nothing changed, one file changed."""
    trees = stand.site / ".roamvpn/deployed"
    names = stand.gateways[:hosts]
    files = {
        name: [str(path.relative_to(trees / name)) for path in sorted((trees / name).rglob("*")) if path.is_file()]
        for name in names
    }
    roots = work / "ordinary"
    copies = work / "trees"
    shutil.copytree(trees, copies)
    for name, listed in files.items():
        for path in listed:
            (roots / name / path).parent.mkdir(parents=True, exist_ok=True)
    playbook = work / "ordinary.yml"
    playbook.write_text(_ORDINARY)
    inventory = work / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"gateways": {"hosts": dict.fromkeys(names)}}))
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "trees": str(copies),
        "roots": str(roots),
        "files": files,
    }
    argv = ["-i", str(inventory), str(playbook), "-e", json.dumps(variables)]
    found = []
    os.environ["ANSIBLE_INVENTORY_ENABLED"] = "yaml"
    for change in (None, None, copies / names[0] / "base/qos.tc"):
        if change is not None:
            change.write_text(change.read_text() + "# changed\n")
        found.append(_timed(argv)[0] * len(stand.gateways) / len(names))
    del os.environ["ANSIBLE_INVENTORY_ENABLED"]
    return found


def _three(stand: Stand) -> list[tuple[float, int]]:
    found = [stand.play()[:2]]
    seconds, size, text = stand.play()
    assert "no changes" in text
    found.append((seconds, size))
    stand.add_user()
    seconds, size, text = stand.play()
    assert "2 gateways change: 2 legs added" in text, text
    found.append((seconds, size))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--ordinary", type=int, default=10, help="hosts that the ordinary role is run on")
    parser.add_argument("--growth", type=int, default=0, help="also this many hosts, such as 1000")
    options = parser.parse_args()
    for hosts, dynamic, static in ((options.hosts, 8, 2), (options.hosts, 400, 50), (options.growth, 8, 2)):
        if not hosts:
            continue
        with tempfile.TemporaryDirectory(prefix="roamvpn-bench-") as directory:
            work = Path(directory)
            stand = Stand(work, hosts, dynamic, static)
            ours = _three(stand)
            count = sum(1 for path in (stand.site / ".roamvpn/deployed").rglob("*") if path.is_file())
            print(f"\n{hosts} hosts, {count} files")
            slow = _ordinary(stand, work, options.ordinary) if (hosts, dynamic) == (options.hosts, 8) else None
        print(f"{'':<18}{'site':>9}{'memory':>10}{'ordinary role':>16}{'ratio':>8}")
        for index, what in enumerate(("all new", "nothing changed", "one user added")):
            seconds, size = ours[index]
            line = f"{what:<18}{seconds:>7.1f} s{size / 1024:>7.0f} MB"
            print(line + (f"{slow[index]:>14.0f} s{slow[index] / seconds:>7.0f}x" if slow else ""))


if __name__ == "__main__":
    main()
