"""Playbooks of the collection, as Ansible finds it in this checkout, on stand-ins for gateways."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.stand_ins import prepare
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.tables.site import load_site

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
_RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Done:
    """Exit code and all output."""

    code: int
    text: str

    @property
    def changed(self) -> list[str]:
        """Hosts that changed."""
        return [found[1] for found in _RECAP.finditer(self.text) if found[2] != "0"]


@dataclass(frozen=True, slots=True)
class Ground:
    """A site, and the directory of its stand-ins."""

    site: Path
    work: Path
    variables: dict[str, object]

    def play(self, name: str, *arguments: str) -> Done:
        """Run a playbook of the collection on the stand-ins."""
        given = ["-e", json.dumps(self.variables), *arguments]
        return self.ansible("ansible-playbook", "-i", str(self.site / "roamvpn.yml"), f"roamvpn.gateway.{name}", *given)

    def ansible(self, program: str, *arguments: str) -> Done:
        """Run a program of Ansible."""
        environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_HOME": str(self.work / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [str(BIN / program), *arguments],
            env=environment, cwd=self.work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout)

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of the site."""
        text = (self.site / name).read_text()
        assert old in text
        (self.site / name).write_text(text.replace(old, new, 1))

    def generation(self, gateway: str) -> str | None:
        """What a stand-in runs."""
        link = self.work / "stand-ins" / gateway / "var/lib/roamvpn/current"
        return link.readlink().name if link.is_symlink() else None


def make(work: Path) -> Ground:
    """The example network and its stand-ins."""
    site = work / "site"
    shutil.copytree(example_site(), site, ignore=shutil.ignore_patterns("secrets.yml", ".roamvpn"))
    complete_secrets(site / "secrets.yml", load_site(read_site(site)).tables)
    return Ground(site, work, prepare(site, work))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make(tmp_path)
