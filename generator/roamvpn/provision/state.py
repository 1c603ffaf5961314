"""What the controller knows of a site's gateways, in SITE/.roamvpn: records, deployed and staged trees, the site CA.

- `records/GATEWAY.json`: generation, base and certificate that the gateway has, as it said itself
- `deployed/GATEWAY/`: the files of that generation
- `staged/GATEWAY/`: what this run is about to bring
- `run.json`: the run that stages and delivers now
- `pki/`: see `authority`

All of it holds secrets or leads to them: directories are made 0700.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from roamvpn.render.manifest import MANIFEST, Digest, parse
from roamvpn.stores.bundles import unpack
from roamvpn.stores.tree import exchange, write_secret
from roamvpn.tables.base import Frozen
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from roamvpn.render.manifest import Manifest

DIRECTORY = ".roamvpn"


class Record(Frozen):
    """What a gateway has: its generation, the digest of base, the serial number of its certificate, the CRL.

    A record in doubt tells what the gateway had before something happened to it. One that is `waiting` has associations
    whose other end was not there yet.
    """

    doubt: bool = False
    waiting: bool = False
    generation: Digest | None = None
    base: str | None = None
    serial: str | None = None
    crl: str | None = None


class Run(Frozen):
    """A run of a playbook: the process on this machine, by its number and its start."""

    pid: int
    started: str
    holder: str
    gateways: tuple[str, ...] = ()


class State:
    """The directory SITE/.roamvpn."""

    def __init__(self, site: Path) -> None:
        self.root = site.absolute() / DIRECTORY
        self.deployed = self.root / "deployed"
        self.staged = self.root / "staged"
        self.pki = self.root / "pki"

    def prepare(self) -> None:
        """Make the directories, closed to others from the start."""
        for directory in (self.root, self.deployed, self.staged, self.root / "records"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    # -- what gateways have -----------------------------------------------------------------------------------------

    def record(self, gateway: str) -> Record | None:
        """What is known of a gateway; None where nothing is, where it is in doubt, or files and record differ."""
        record = self._read(gateway)
        if record is None or record.doubt:
            return None
        manifest = self.manifest(gateway)
        return record if record.generation == (manifest.digest if manifest is not None else None) else None

    def _read(self, gateway: str) -> Record | None:
        try:
            return Record.model_validate_json(self._path(gateway).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _write(self, gateway: str, record: Record) -> None:
        write_secret(self._path(gateway), record.model_dump_json() + "\n")

    def manifest(self, gateway: str) -> Manifest | None:
        """The manifest of what the gateway runs."""
        try:
            return parse((self.deployed / gateway / MANIFEST).read_bytes())
        except (FileNotFoundError, RoamvpnError):
            return None

    def keep(self, gateway: str, **fields: str | bool | None) -> None:
        """Change fields of a record."""
        self.prepare()
        known = self._read(gateway) or Record()
        self._write(gateway, Record.model_validate({**known.model_dump(), **fields}))

    def arrived(self, gateway: str) -> None:
        """The staged files are what the gateway runs now."""
        staged = self.staged / gateway
        digest = parse((staged / MANIFEST).read_bytes()).digest
        known = self._read(gateway) or Record()
        exchange(staged, self.deployed / gateway)
        self._write(gateway, known.model_copy(update={"generation": digest, "doubt": False}))

    def learnt(self, gateway: str, bundle: bytes | None, *, bare: bool = False) -> None:
        """What a gateway says that it runs: its bundle, or None for nothing. A `bare` one never was ours."""
        self.prepare()
        known = (None if bare else self._read(gateway)) or Record()
        self._write(gateway, known.model_copy(update={"doubt": True}))
        shutil.rmtree(self.deployed / gateway, ignore_errors=True)
        digest = None
        if bundle is not None:
            fetched = self.staged / f".{gateway}"
            shutil.rmtree(fetched, ignore_errors=True)
            manifest = unpack(bundle, fetched)
            if manifest.gateway != gateway:
                raise RoamvpnError(f"{gateway}: this host runs the configuration of {manifest.gateway}")
            exchange(fetched, self.deployed / gateway)
            digest = manifest.digest
        self._write(gateway, known.model_copy(update={"generation": digest, "doubt": False}))

    def doubt(self, gateway: str) -> None:
        """The gateway is not what was thought: the next run asks it."""
        known = self._read(gateway)
        if known is not None:
            self._write(gateway, known.model_copy(update={"doubt": True}))

    def forget(self, gateway: str) -> None:
        """Drop what is known: there is nothing of ours on it."""
        self._path(gateway).unlink(missing_ok=True)
        shutil.rmtree(self.deployed / gateway, ignore_errors=True)

    def known(self) -> list[str]:
        """Gateways with files, those that left the network among them."""
        return sorted(path.parent.name for path in self.deployed.glob(f"*/{MANIFEST}"))

    def _path(self, gateway: str) -> Path:
        return self.root / "records" / f"{gateway}.json"

    # -- one run at a time ------------------------------------------------------------------------------------------

    def claim(self, pid: int, holder: str, gateways: tuple[str, ...]) -> None:
        """Let the run of process `pid` change things; raises RoamvpnError while another one does.

        It is given up by the end of the process, however that comes.
        """
        self.prepare()
        run = self.run()
        if run is not None and run.pid != pid and _started(run.pid) == run.started:
            raise RoamvpnError(f"{run.holder} is changing this site (process {run.pid})")
        mine = Run(pid=pid, started=_started(pid), holder=holder, gateways=gateways)
        write_secret(self.root / "run.json", mine.model_dump_json() + "\n")

    def run(self) -> Run | None:
        """The run that staged last."""
        try:
            return Run.model_validate(json.loads((self.root / "run.json").read_text()))
        except (FileNotFoundError, ValueError):
            return None


def _started(pid: int) -> str:
    """When a process started, as the kernel counts; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def holder() -> str:
    """Who runs this, for people who wait for it."""
    return f"{os.environ.get('SUDO_USER') or os.environ.get('USER') or os.getuid()}@{os.uname().nodename}"
