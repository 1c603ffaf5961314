"""Rendered trees on disk: written beside the old one, switched in one step, never half there.

A tree is a directory with `fleet.json` on top and a directory per gateway. It is staged in a sibling
directory, with hard links to files that stay, and exchanged with the old one by renameat2(2), so that
a reader, or a kill at any moment, finds the old tree or the new one.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from stat import S_IMODE
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.policy.keys import fingerprint
from roamvpn.render.manifest import FOREIGN, INCLUDED, MANIFEST, FileEntry, Manifest, build, content_digest, parse
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from roamvpn.plan.sides import RenderedSide

INDEX = "fleet.json"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class DirectorySide:
    """A rendered tree as it stands: a file that no longer fits its manifest has a digest of its own."""

    def __init__(self, root: Path, key: bytes | None = None) -> None:
        """`key` is that of the fingerprints; without it an edited secret is not noticed."""
        self.root = root
        self._key = key
        self._manifests: dict[str, Manifest] = {}
        self._plain: set[str] = set()
        if root.exists() and not root.is_dir():
            raise RoamvpnError(f"{root}: is not a directory")
        if root.is_dir():
            for path in sorted(root.glob(f"*/{MANIFEST}")):
                manifest = parse(path.read_bytes())
                if manifest.gateway != path.parent.name:
                    raise RoamvpnError(f"{path}: is the manifest of {manifest.gateway}")
                self._manifests[manifest.gateway] = manifest

    def gateways(self) -> Iterable[str]:
        """Gateways with a manifest."""
        return self._manifests

    def manifest(self, gateway: str) -> Manifest | None:
        """The gateway's manifest."""
        return self._manifests.get(gateway)

    def sources(self, gateway: str) -> Mapping[str, str]:
        """Digests by path; a file that is gone is left out, one that was edited has a digest of its own."""
        manifest = self._manifests.get(gateway)
        if manifest is None:
            return {}
        found = {}
        for path, entry in manifest.files.items():
            with suppress(FileNotFoundError):
                found[path] = self._actual(gateway, path, entry)
        for path in self._included(gateway):
            found.setdefault(path, FOREIGN)
        return found

    def text(self, gateway: str, path: str) -> str | None:
        """The file as it stands."""
        return self._read(gateway, path).decode(errors="backslashreplace")

    def _actual(self, gateway: str, path: str, entry: FileEntry) -> str:
        content = self._read(gateway, path)
        mode = S_IMODE((self.root / gateway / path).stat().st_mode)
        # a umask takes permissions away; more of them than were given is a change like any other
        if not entry.fits(content, self._key) or mode & ~int(entry.mode, 8):
            return f"edited {content_digest(content)}"
        return entry.source

    def _read(self, gateway: str, path: str) -> bytes:
        """A file's content; a link, which could lead to any file of this machine, is refused."""
        directory = f"{gateway}/{path}".rpartition("/")[0]
        if directory not in self._plain:
            for above in (PurePath(directory), *PurePath(directory).parents[:-1]):
                if (self.root / above).is_symlink():
                    raise RoamvpnError(f"{self.root / above}: is a symbolic link")
            self._plain.add(directory)
        name = f"{self.root}/{gateway}/{path}"
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise RoamvpnError(f"{name}: is a symbolic link") from None
            raise
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def _included(self, gateway: str) -> Iterator[str]:
        for owner in ("base", "session"):
            for kind in ("peers", "legs", "secrets"):
                with suppress(FileNotFoundError, NotADirectoryError):
                    for file in (self.root / gateway / owner / kind).iterdir():
                        path = f"{owner}/{kind}/{file.name}"
                        if INCLUDED.match(path):
                            yield path


class Written(NamedTuple):
    """What a write did: files rendered, files kept as they were."""

    rendered: int
    kept: int


def write_tree(out: Path, side: RenderedSide, site: str, progress: Callable[[str], None] | None = None) -> Written:
    """Write the fleet to `out`, all of it or nothing."""
    out = out.absolute()
    _refuse_foreign(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        stage = out.with_name(f".{out.name}.stage")
        # a stage that is there was left by a run that was killed: nobody else holds the lock
        _remove(stage)
        stage.mkdir(mode=0o700)
        rendered = kept = 0
        index = {}
        old = DirectorySide(out, side.renderer.key)
        for gateway in sorted(side.gateways()):
            manifest, fresh, linked = write_gateway(stage / gateway, out / gateway, side, gateway, old)
            index[gateway] = manifest.digest
            rendered, kept = rendered + fresh, kept + linked
            if progress is not None:
                progress(gateway)
        create(stage / INDEX, _index(site, index), 0o644)
        os.sync() if rendered > 1000 else _sync_tree(stage)
        exchange(stage, out)
    return Written(rendered, kept)


def write_file(path: Path, text: str) -> None:
    """Write one file, replacing an old one in one step."""
    staged = path.with_name(f".{path.name}.stage")
    staged.unlink(missing_ok=True)
    create(staged, text.encode(), 0o644)
    staged.replace(path)


def write_secret(path: Path, text: str) -> None:
    """Write a file that nobody else may read, replacing an old one in one step, on the disk when this returns."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.unlink(missing_ok=True)
    # created with its mode, never chmod'ed later: there is no moment in which others can open it
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def write_gateway(
    target: Path, current: Path, side: RenderedSide, gateway: str, old: DirectorySide
) -> tuple[Manifest, int, int]:
    """Write a gateway's files to `target`, with hard links to those of `current`, read by `old`, that stay.

    Returns the manifest, the number of files rendered and of those kept.
    """
    manifest = old.manifest(gateway)
    known = manifest.files if manifest is not None else {}
    sources = old.sources(gateway)
    files: dict[str, FileEntry] = {}
    rendered = kept = 0
    made: set[Path] = set()
    for path, artefact in side.artefacts(gateway).items():
        file = target / path
        if file.parent not in made:
            # a secret's directory is closed from the start
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if artefact.secret else 0o755)
            made.add(file.parent)
        if sources.get(path) == artefact.source:
            os.link(current / path, file)
            files[path] = known[path]
            kept += 1
            continue
        content = (side.text(gateway, path) or "").encode()
        create(file, content, artefact.mode)
        files[path] = FileEntry.model_construct(
            mode="0600" if artefact.secret else "0644",
            source=artefact.source,
            sha256=None if artefact.secret else content_digest(content),
            fingerprint=fingerprint(side.renderer.key, content) if artefact.secret else None,
        )
        rendered += 1
    target.mkdir(exist_ok=True)
    result = build(gateway, files)
    create(target / MANIFEST, result.text().encode(), 0o644)
    return result, rendered, kept


def _index(site: str, gateways: dict[str, str]) -> bytes:
    return (json.dumps({"schema": 1, "site": site, "gateways": gateways}, indent=1, sort_keys=True) + "\n").encode()


def create(path: Path, content: bytes, mode: int) -> None:
    """Write a new file; it has its mode from the start."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _refuse_foreign(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise RoamvpnError(f"{out}: is not a directory")
    if out.is_dir() and any(out.iterdir()) and not (out / INDEX).is_file():
        raise RoamvpnError(f"{out}: holds other files ({INDEX} is not there); name an empty or a new directory")


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    path = out.with_name(f".{out.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RoamvpnError(f"{out}: another run is writing it") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _sync_tree(root: Path) -> None:
    for directory, _, files in os.walk(root):
        for name in (*files, "."):
            descriptor = os.open(Path(directory) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def exchange(stage: Path, out: Path) -> None:
    """Put a directory in another's place in one step; the other is removed."""
    if not out.exists():
        stage.rename(out)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(stage), _AT_FDCWD, os.fsencode(out), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):
            raise RoamvpnError(f"{out}: cannot switch: {os.strerror(code)}")
        raise RoamvpnError(f"{out}: this file system cannot exchange directories; render to another one")
    _remove(stage)


def _remove(directory: Path) -> None:
    if directory.is_dir() and not directory.is_symlink():
        shutil.rmtree(directory)
