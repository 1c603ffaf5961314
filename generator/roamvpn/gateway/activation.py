"""Bring a gateway from one generation to another, and back by itself if nobody confirms.

Order of a change: settings, devices, secrets, connections, associations, then users' filters and routes, and what is
no longer wanted last. SAs of what does not change are not touched.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import select
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from roamvpn.gateway import charon, kernel, objects, pki, scratch, settings, setup, units
from roamvpn.gateway.charon import Charon
from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.generations import Generations, Note, Pending
from roamvpn.gateway.vici import Vici

if TYPE_CHECKING:
    from roamvpn.gateway.objects import Json, Objects
    from roamvpn.gateway.units import Command, Wanted


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are on a gateway. Below another root nothing but files is touched (`offline`)."""

    root: Path = Path("/")
    home: Path = Path("/var/lib/roamvpn")
    run: Path = Path("/run/roamvpn")
    credentials: Path = Path("/etc/swanctl")
    vici: str = charon.SOCKET
    offline: bool = False

    @classmethod
    def below(cls, root: Path) -> Places:
        """A file system that is not running, such as an image being made."""
        return cls(root, root / "var/lib/roamvpn", root / "run/roamvpn", root / "etc/swanctl", offline=True)


@dataclass(slots=True)
class Report:
    """What was done, for people and for the controller."""

    changed: bool = False
    digest: str | None = None
    before: str | None = None
    token: str | None = None
    done: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """Associations that are not up, with the reason: their other end may not be there yet."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the controller asks for: `expected` is the generation that it planned against, `""` for none."""

    digest: str
    gateway: str
    holder: str
    expected: str | None = None
    confirm: int = 0
    defer: frozenset[str] = frozenset()
    check: bool = False


class Gateway:
    """This gateway: its generations, its kernel, its charon."""

    def __init__(self, places: Places, program: list[str]) -> None:
        """`program` is how to start this program again, for trials and for the watchdog."""
        self.places = places
        self.store = Generations(places.home)
        self._program = program

    # -- a change ---------------------------------------------------------------------------------------------------

    def apply(self, order: Order, bundle: bytes | None) -> Report:
        """Activate a generation, from its bundle or from disk.

        Raises:
            GatewayError: with the step that failed; whatever was begun is undone.
        """
        with self.store.locked(order.holder):
            self._no_pending()
            current = self.store.current()
            if order.expected is not None and (current or "") not in (order.expected, order.digest):
                raise GatewayError(
                    "preflight", f"runs generation {current or 'none'}, planned against {order.expected or 'none'}"
                )
            if current == order.digest:
                self._agreed(order.digest)
                return Report(digest=current, before=current) if order.check else self._repair(order, bundle)
            self._prepare(order, bundle)
            if order.check:
                self.store.discard(order.digest)
                return Report(changed=True, digest=order.digest, before=current)
            return self._change(order, current)

    def _repair(self, order: Order, bundle: bytes | None) -> Report:
        """Bring files, kernel and charon back to the generation that is current already."""
        report = Report(digest=order.digest, before=order.digest)
        note = self.store.note(order.digest)
        if bundle is not None and _files(self.store.path(order.digest), note):
            self.store.unpack(bundle, order.digest, order.gateway)
            report.done.append("files")
        report.done += self._converge(order.digest, order.defer, report.waiting)
        report.changed = bool(report.done)
        return report

    def _prepare(self, order: Order, bundle: bytes | None) -> None:
        if bundle is None:
            if not self.store.path(order.digest).is_dir():
                raise GatewayError("preflight", f"generation {order.digest} is not on this gateway")
            self._agreed(order.digest)
            return
        files = self.store.unpack(bundle, order.digest, order.gateway)
        try:
            self._agreed(order.digest)
            found: Objects = {}
            if not self.places.offline:
                found = scratch.try_out(self._program, self.store.path(order.digest), self.places.credentials)
            self.store.keep(order.digest, Note(found, files))
        except (GatewayError, OSError):
            self.store.discard(order.digest)
            raise

    def _agreed(self, digest: str) -> None:
        """Refuse a generation that would set what the agent of this gateway sets."""
        if self.shared and (self.store.path(digest) / "session").is_dir():
            raise GatewayError("preflight", f"an agent has the sessions here, and generation {digest} has some, too")

    def _change(self, order: Order, current: str | None) -> Report:
        report = Report(changed=True, digest=order.digest, before=current)
        if self.places.offline:
            self.store.switch(order.digest)
            self.store.record(order.digest)
            return report
        up = sorted(self._established())
        report.token = secrets.token_hex(8)
        self.store.arm(Pending(report.token, current, order.digest, order.holder, up))
        if order.confirm:
            self._watch(report.token, order.confirm)
        try:
            self.store.switch(order.digest)
            report.done = self._converge(order.digest, order.defer, report.waiting, before=current)
        except BaseException as error:
            self._back(current, order.digest)
            if isinstance(error, GatewayError):
                raise GatewayError(error.step, f"{error.message}; back at generation {current or 'none'}") from None
            raise
        if not order.confirm:
            self._committed(order.digest)
            report.token = None
        return report

    def confirm(self, token: str, holder: str) -> Report:
        """Make a change stand, if the gateway is healthy; otherwise it is undone now."""
        with self.store.locked(holder, wait=True):
            pending = self.store.pending()
            if pending is None or pending.token != token:
                runs = self.store.current() or "nothing"
                raise GatewayError("confirm", f"nothing waits for this; the gateway runs {runs}")
            ill = self._ill(pending)
            if ill:
                self._back(pending.before, pending.after)
                raise GatewayError("health", f"{'; '.join(ill[:5])}; back at generation {pending.before or 'none'}")
            self._committed(pending.after)
            return Report(changed=True, digest=pending.after, before=pending.before)

    def rollback_unconfirmed(self, token: str | None, holder: str) -> bool:
        """Undo a change that nobody confirmed; True if there was one."""
        with self.store.locked(holder, wait=True):
            pending = self.store.pending()
            if pending is None or (token is not None and pending.token != token):
                return False
            self._back(pending.before, pending.after)
            return True

    def _ill(self, pending: Pending) -> list[str]:
        drifted = [f"{row['object']} is {row['state']}" for row in self.drift() if row["state"] != "down"]
        wanted = units.read(self.store.path(pending.after))
        up = self._established()
        gone = [name for name in pending.established if name in wanted.connections and name not in up]
        return drifted + [f"{name} was up before and is down" for name in gone]

    def _committed(self, digest: str) -> None:
        self.store.record(digest)
        self.store.disarm()
        self._poke()

    def _back(self, digest: str | None, failed: str) -> None:
        """Return to a generation, or to none; what fails on the way is left to the next try."""
        self.store.switch(digest)
        try:
            self._converge(digest, frozenset(), before=failed)
        finally:
            self.store.disarm()
            self.store.discard(failed)
            self._poke()

    def _no_pending(self) -> None:
        """Refuse while somebody's change waits; undo one that was left behind, which nobody watches any more."""
        pending = self.store.pending()
        if pending is None:
            return
        if self._watched():
            raise GatewayError("lock", f"generation {pending.after} of {pending.holder} waits for its confirmation")
        self._back(pending.before, pending.after)

    # -- the watchdog -----------------------------------------------------------------------------------------------

    def _watch(self, token: str, seconds: int) -> None:
        """Leave a process behind that undoes the change unless it is told, through a FIFO, that it stands."""
        self.places.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        fifo = self.places.run / "confirmed"
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo, 0o600)
        ear = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            os.close(ear)
            return
        try:
            os.setsid()
            if os.fork():
                os._exit(0)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):
                os.dup2(null, descriptor)
            # the lock of the change is inherited with its descriptors: let go of all but the FIFO
            os.closerange(3, ear)
            os.closerange(ear + 1, os.sysconf("SC_OPEN_MAX"))
            if not select.select([ear], [], [], seconds)[0]:
                os.execv(self._program[0], [*self._program, "revert", "--token", token])  # noqa: S606 - ourselves
        finally:
            os._exit(0)

    def _poke(self) -> None:
        fifo = self.places.run / "confirmed"
        try:
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return
        os.write(descriptor, b"\n")
        os.close(descriptor)
        fifo.unlink(missing_ok=True)

    def _watched(self) -> bool:
        """Whether a watchdog listens: without a reader, a FIFO cannot be opened for writing."""
        try:
            os.close(os.open(self.places.run / "confirmed", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    # -- convergence ------------------------------------------------------------------------------------------------

    def boot(self, holder: str) -> Report:
        """After a start of charon: an unconfirmed change is dropped, then everything is loaded."""
        self.places.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.places.run / "started").touch()
        with self.store.locked(holder, wait=True):
            pending = self.store.pending()
            if pending is not None:
                self.store.switch(pending.before)
                self.store.disarm()
            current = self.store.current()
            waiting: list[str] = []
            done = self._converge(current, frozenset(), waiting) if current else []
            return Report(changed=bool(done), digest=current, before=current, done=done, waiting=waiting)

    def initiate(self, holder: str, again: frozenset[str] = frozenset()) -> Report:
        """Set up what this end initiates and is not up, or leads to one of these peers: they may have been replaced."""
        with self.store.locked(holder, wait=True):
            current = self.store.current()
            report = Report(digest=current, before=current)
            if current is not None and not self.places.offline:
                wanted = units.read(self.store.path(current))
                with Vici(self.places.vici) as vici:
                    daemon = self._charon(vici)
                    asked, up = wanted.initiate & set(wanted.connections), daemon.established()
                    renewed = {name for name in asked & set(up) if wanted.peer(name) in again}
                    report.done = self._initiate(sorted(asked - set(up) | renewed), wanted, report.waiting)
                    _terminate_older(daemon, renewed, up)
                report.changed = bool(report.done)
            return report

    def remove(self, holder: str, gateway: str) -> Report:
        """Take everything of ours off this gateway, its credentials among it."""
        with self.store.locked(holder, wait=True):
            current = self.store.current()
            # an agent is stopped before; with what it keeps go its sessions' objects
            shutil.rmtree(self.store.agent, ignore_errors=True)
            done = [] if self.places.offline else self._converge(None, frozenset(), before=current)
            self.store.disarm()
            self._poke()
            done += [f"removed {path}" for path in pki.remove(self.places.credentials, gateway)]
            done += [f"removed {path}" for path in setup.remove(self.places.root)]
            shutil.rmtree(self.places.home)
            shutil.rmtree(self.places.run, ignore_errors=True)
            return Report(changed=bool(done) or current is not None, before=current, done=done)

    def _established(self) -> dict[str, list[str]]:
        with Vici(self.places.vici) as vici:
            return self._charon(vici).established()

    def _charon(self, vici: Vici) -> Charon:
        self.places.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Charon(vici, self.places.credentials, self.places.run / "loaded.json")

    def _converge(
        self, digest: str | None, defer: frozenset[str], waiting: list[str] | None = None, before: str | None = None
    ) -> list[str]:
        """Make kernel and charon what a generation asks for; returns what was done, object by object."""
        if self.places.offline:
            return []
        wanted = units.read(self.store.path(digest)) if digest is not None else units.Wanted()
        note = self.store.note(digest) if digest is not None else Note({}, {})
        done: list[str] = []
        done += self._settings(digest)
        done += _devices(wanted, note)
        with Vici(self.places.vici) as vici:
            daemon = self._charon(vici)
            done += daemon.load_credentials()
            if self._settings_changed(digest, before):
                daemon.reload_settings()
            done += self._connections(daemon, wanted, defer, waiting if waiting is not None else [])
            renewed = self._renewed_states(digest, before)
            done += _legs(wanted, note, renewed)
            gone = (daemon.connections() - set(wanted.connections)) | (daemon.secrets() - set(wanted.secrets))
            if self.shared:
                gone &= daemon.brought
            daemon.unload(gone)
            done += [f"unloaded {name}" for name in sorted(gone)]
        done += _orphans(note.objects, self._brought(before) if self.shared else None)
        return done

    @property
    def shared(self) -> bool:
        """Whether an agent has sessions here: then what is not in a generation may be one of its, and is its affair."""
        return self.store.agent.is_dir()

    def _brought(self, before: str | None) -> set[str]:
        """Objects of the generation before, which alone can have been left over by us."""
        if before is None or not self.store.path(before).is_dir():
            return set()
        return set(self.store.note(before).objects)

    def _settings(self, digest: str | None) -> list[str]:
        """Kernel settings; those that are no longer wanted get back what they were before us."""
        wanted = settings.wanted(self.store.path(digest)) if digest is not None else {}
        former = {**settings.differing(wanted), **self.store.former()}
        self.store.keep_former(former)
        stale = {key: value for key, value in former.items() if key not in wanted and settings.present(key)}
        done = settings.apply(wanted) + settings.apply(stale)
        self.store.keep_former({key: value for key, value in former.items() if key in wanted})
        return done

    def _settings_changed(self, digest: str | None, before: str | None) -> bool:
        if digest is None or before is None or not (self.store.path(before) / "base/strongswan.conf").exists():
            return False
        name = "base/strongswan.conf"
        return (self.store.path(digest) / name).read_bytes() != (self.store.path(before) / name).read_bytes()

    def _renewed_states(self, digest: str | None, before: str | None) -> set[str]:
        """States set by hand whose keys are new: the kernel does not show keys, so files are compared."""
        if digest is None or before is None or not self.store.path(before).is_dir():
            return set()
        ours, theirs = (
            {(c.tool, c.line) for c in units.read(self.store.path(which)).legs if " state " in c.line}
            for which in (digest, before)
        )
        return {objects.of_line(*line) for line in ours - theirs}

    def _connections(self, daemon: Charon, wanted: Wanted, defer: frozenset[str], waiting: list[str]) -> list[str]:
        credentials = self.places.credentials
        messages = {name: charon.shared(name, tree) for name, tree in wanted.secrets.items()}
        messages |= {name: charon.connection(tree, credentials) for name, tree in wanted.connections.items()}
        up = daemon.established()
        fresh = daemon.changed(messages)
        for name in sorted(fresh, key=lambda name: (not name.startswith("ike-"), name)):
            daemon.load("load-shared" if name.startswith("ike-") else "load-conn", name, messages[name])
        daemon.settle()
        asked = wanted.initiate & set(wanted.connections)
        later = {name for name in asked if wanted.peer(name) in defer}
        late = sorted(later & (fresh | asked - set(up)))
        waiting += [f"{name}: its other end changes later" for name in late]
        # a connection whose secret is new is set up again, too: what comes next may be the end of the old one
        renewed = {name.removeprefix("ike-") for name in fresh & daemon.replaced if name.startswith("ike-")}
        changed = (fresh | renewed) & asked & set(up)
        todo = sorted((asked - set(up) | changed) - later)
        done = [f"loaded {name}" for name in sorted(fresh)]
        done += self._initiate(todo, wanted, waiting)
        _terminate_older(daemon, changed - later, up)
        return done

    def _initiate(self, names: list[str], wanted: Wanted, waiting: list[str]) -> list[str]:
        """Set up associations, peers side by side: one that is down costs its time once, however many legs it has."""
        peers: dict[str, list[str]] = {}
        for name in names:
            peers.setdefault(wanted.peer(name), []).append(name)

        def to(peer: str) -> list[str]:
            done = []
            with Vici(self.places.vici) as vici:
                daemon, answers = self._charon(vici), True
                for name in peers[peer]:
                    wrong = daemon.initiate(name) if answers else f"{peer} does not answer"
                    answers = answers and "not established after" not in wrong
                    if wrong:
                        waiting.append(f"{name}: {wrong}")
                    else:
                        done.append(f"initiated {name}")
            return done

        with ThreadPoolExecutor(max_workers=min(8, len(peers) or 1)) as pool:
            done = [line for lines in pool.map(to, sorted(peers)) for line in lines]
        waiting.sort()
        return done

    # -- what stands ------------------------------------------------------------------------------------------------

    def drift(self) -> list[dict[str, str]]:
        """Every object that is not as the current generation asks: missing, changed, foreign, or down."""
        current = self.store.current()
        rows: list[dict[str, str]] = []
        note = self.store.note(current) if current is not None else Note({}, {})
        if current is not None:
            rows += _files(self.store.path(current), note)
            rows += [_row(f"file {path}", "changed") for path in setup.differing(self.places.root)]
        if self.places.offline:
            return rows
        wanted = units.read(self.store.path(current)) if current is not None else units.Wanted()
        if current is not None:
            known = settings.wanted(self.store.path(current))
            for key, stands in sorted(settings.differing(known).items()):
                rows.append(_row(f"sysctl {key}", "changed", f"is {stands}, not {known[key]}"))
        found = _objects(note.objects, kernel.live())
        rows += [row for row in found if not (self.shared and row["state"] == "foreign")]
        with Vici(self.places.vici) as vici:
            daemon = self._charon(vici)
            present, asked = daemon.connections() | daemon.secrets(), set(wanted.connections) | set(wanted.secrets)
            rows += [_row(f"charon {name}", "missing") for name in sorted(asked - present)]
            strange = present - asked if not self.shared else (present - asked) & daemon.brought
            rows += [_row(f"charon {name}", "foreign") for name in sorted(strange)]
            down = (wanted.initiate & set(wanted.connections)) - set(daemon.established())
            rows += [_row(f"association {name}", "down") for name in sorted(down)]
        return rows


def _terminate_older(daemon: Charon, names: set[str], before: dict[str, list[str]]) -> None:
    """Make before break: an SA that was there before goes when another one of its connection is up."""
    now = daemon.established()
    for name in names:
        if set(now.get(name, [])) - set(before[name]):
            for unique in set(now[name]) & set(before[name]):
                daemon.terminate({"ike-id": unique})


def _devices(wanted: Wanted, note: Note) -> list[str]:
    """Devices, their rules and routes, queues and classifier: what differs, in the order of the lines."""
    lines = kernel.grouped(wanted.devices)
    live = kernel.live()
    present = [name for name in lines if name.startswith("link ") and name in live]
    replaced = [name for name in present if _rebuilt(live[name], note.objects[name])]
    if replaced:
        kernel.batch([units.Command(*objects.removal(name)) for name in replaced])
        live = kernel.live()
    names = [name for name in lines if live.get(name) != note.objects.get(name)]
    kernel.batch([command for name in names for command in _to_set(name, lines[name], live)])
    return [f"set {name}" for name in names]


def _rebuilt(is_now: dict[str, object], shall_be: dict[str, object]) -> bool:
    return (is_now["kind"], is_now["data"]) != (shall_be["kind"], shall_be["data"])


def _to_set(name: str, lines: list[Command], live: Objects) -> list[Command]:
    """Lines that bring an object to what is wanted; one that is there already cannot be added once more."""
    if name not in live:
        return lines
    if name.startswith("link "):
        words = lines[0].line.split()
        device = words[2]
        return [units.Command("ip", f"link set {device} mtu {words[words.index('mtu') + 1]}"), *lines[1:]]
    if " add " in lines[0].line:
        return [units.Command(*objects.removal(name)), *lines]
    return lines


def _legs(wanted: Wanted, note: Note, renewed: set[str]) -> list[str]:
    lines = kernel.grouped(wanted.legs)
    live = kernel.live()
    names = [name for name in lines if live.get(name) != note.objects.get(name) or name in renewed]
    kernel.batch([command for name in names for command in _to_set(name, lines[name], live)])
    return [f"set {name}" for name in names]


_LAST = {"filter": 0, "class": 2, "qdisc": 3, "route": 4, "rule": 5, "policy": 6, "state": 7, "link": 8}


def _orphans(wanted: Objects, brought: set[str] | None = None) -> list[str]:
    """Remove what is ours and not wanted: filters first, devices last. Of `brought`, where it is given, only."""
    live = kernel.live()
    gone = set(live) - set(wanted)
    if brought is not None:
        gone &= brought
    names = [name for name in gone if not _goes_along(name, gone)]
    names.sort(key=lambda name: (_LAST[name.partition(" ")[0]], name))
    kernel.batch([units.Command(*objects.removal(name)) for name in names])
    return [f"removed {name}" for name in names]


def _goes_along(name: str, gone: set[str]) -> bool:
    """What hangs on another object that goes needs no removal of its own."""
    kind, device, *place = name.split()
    if kind == "class" or (kind == "qdisc" and place[0] == "parent"):
        return f"qdisc {device} root" in gone or (kind == "qdisc" and f"class {device} {place[1]}" in gone)
    return False


def _files(root: Path, note: Note) -> list[dict[str, str]]:
    rows = []
    for path, digest in sorted(note.files.items()):
        file = root / path
        if not file.is_file():
            rows.append(_row(f"file {path}", "missing"))
        elif hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            rows.append(_row(f"file {path}", "changed"))
    known = set(note.files)
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        name = file.relative_to(root).as_posix()
        if name not in known:
            rows.append(_row(f"file {name}", "foreign"))
    return rows


def _objects(wanted: Objects, live: Objects) -> list[dict[str, str]]:
    rows = []
    for name in sorted(set(wanted) | set(live)):
        if name not in live:
            rows.append(_row(name, "missing"))
        elif name not in wanted:
            rows.append(_row(name, "foreign"))
        elif wanted[name] != live[name]:
            rows.append(_row(name, "changed", _difference(wanted[name], live[name])))
    return rows


def _difference(wanted: Json, live: Json) -> str:
    keys = sorted(key for key in {*wanted, *live} if wanted.get(key) != live.get(key))
    return ", ".join(f"{key} is {live.get(key)}, not {wanted.get(key)}" for key in keys)


def _row(name: str, state: str, detail: str = "") -> dict[str, str]:
    return {"object": name, "state": state, "detail": detail}
