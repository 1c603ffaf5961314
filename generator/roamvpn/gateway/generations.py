"""Generations on a gateway's disk: unpacked beside each other, one of them current by an atomic rename.

In /var/lib/roamvpn, mode 0700:

- `generations/DIGEST/`: the files of a bundle
- `notes/DIGEST.json`: what the kernel shows of them, and the digest of every file
- `current` -> `generations/DIGEST`
- `history.json`: digests in the order of their activation, confirmed ones only
- `pending.json`: a change that waits for its confirmation
- `former.json`: kernel settings as they were before us
- `agent/`: what the agent keeps; where it is there, sessions are the agent's
- `lock`
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, cast

from roamvpn.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.gateway.objects import Objects

MANIFEST = "manifest.json"
KEEP = 5
"""Generations that stay on disk, the current one among them."""
_PATH = re.compile(r"[a-z][A-Za-z0-9_-]*(\.[a-z]+)?(/[A-Za-z0-9_-]+(\.[a-z]+)?){0,3}\Z")
_DIGEST = re.compile(r"[0-9a-f]{12,64}\Z")
_MAX_MEMBER, _MAX_BUNDLE = 16 << 20, 256 << 20
_SPARE = 1 << 20


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that is active but not confirmed."""

    token: str
    before: str | None
    after: str
    holder: str
    established: list[str]
    """Connections whose SAs were up before, and must be afterwards."""


@dataclass(frozen=True, slots=True)
class Note:
    """What was learnt of a generation when it was unpacked and tried out."""

    objects: Objects
    files: dict[str, str]


class Generations:
    """The store below one directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._pending = home / "pending.json"
        self.agent = home / "agent"

    @contextmanager
    def locked(self, holder: str, *, wait: bool = False) -> Iterator[None]:
        """Keep others out; raises GatewayError at once if somebody is at work, unless told to wait."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                who = os.read(descriptor, 200).decode(errors="replace").strip() or "somebody"
                raise GatewayError("lock", f"{who} is changing this gateway") from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(errors="replace")[:200], 0)
            yield
        finally:
            os.close(descriptor)

    def path(self, digest: str) -> Path:
        """Directory of a generation."""
        if not _DIGEST.match(digest):
            raise GatewayError("preflight", f"not a digest: {digest[:70]!r}")
        return self.home / "generations" / digest

    def current(self) -> str | None:
        """Digest of the current generation."""
        link = self.home / "current"
        return link.readlink().name if link.is_symlink() else None

    def history(self) -> list[str]:
        """Digests as they became current, oldest first."""
        path = self.home / "history.json"
        known = _read_json(path)
        if known is None:
            return []
        if not isinstance(known, list) or not all(isinstance(item, str) for item in known):
            raise _damaged(path)
        return known

    def previous(self) -> str:
        """The generation before the current one; raises GatewayError where there is none."""
        current = self.current()
        for digest in reversed(self.history()):
            if digest != current and self.path(digest).is_dir():
                return digest
        raise GatewayError("preflight", "there is no earlier generation on this gateway")

    def pending(self) -> Pending | None:
        """The change that waits for its confirmation."""
        known = _read_json(self._pending)
        if known is None:
            return None
        if not isinstance(known, dict) or known.keys() != {key.name for key in fields(Pending)}:
            raise _damaged(self._pending)
        return Pending(**known)

    def arm(self, pending: Pending) -> None:
        """Write down what to come back to, before anything changes."""
        _write(self._pending, json.dumps(asdict(pending)).encode())

    def disarm(self) -> None:
        """The change stands, or is undone."""
        self._pending.unlink(missing_ok=True)

    def former(self) -> dict[str, str]:
        """Kernel settings as they were before us."""
        path = self.home / "former.json"
        known = _read_json(path)
        if known is None:
            return {}
        if not isinstance(known, dict):
            raise _damaged(path)
        return {str(key): str(value) for key, value in known.items()}

    def keep_former(self, settings: dict[str, str]) -> None:
        """Write down what to restore when a setting is no longer wanted."""
        if settings != self.former():
            _write(self.home / "former.json", json.dumps(settings, sort_keys=True).encode())

    def note(self, digest: str) -> Note:
        """What is known of a generation."""
        path = self.home / "notes" / f"{digest}.json"
        known = _read_json(path)
        if known is None:
            raise GatewayError("read", f"no note of generation {digest}; deliver it again")
        if not isinstance(known, dict) or known.keys() != {key.name for key in fields(Note)}:
            raise _damaged(path)
        note = Note(**known)
        if not all(isinstance(value, dict) for value in (note.objects, note.files)):
            raise _damaged(path)
        if not all(isinstance(value, dict) for value in note.objects.values()):
            raise _damaged(path)
        return note

    def unpack(self, bundle: bytes, digest: str, gateway: str) -> dict[str, str]:
        """Put a bundle beside the other generations, whole or not at all; returns the digest of every file.

        Raises:
            GatewayError: where the bundle is not what its manifest says, or does not fit on the disk.
        """
        target = self.path(digest)
        files = _members(bundle)
        manifest = _manifest(files, digest, gateway)
        generations = self.home / "generations"
        generations.mkdir(mode=0o700, parents=True, exist_ok=True)
        need, free = sum(map(len, files.values())) * 2 + _SPARE, _free(generations)
        if free < need:
            raise GatewayError("preflight", f"{self.home} has {free >> 10} KiB free; {need >> 10} KiB are needed")
        stage = generations / f".{digest}"
        shutil.rmtree(stage, ignore_errors=True)
        try:
            for path, content in sorted(files.items()):
                secret = manifest.get(path, {}).get("mode") == "0600"
                file = stage / path
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _create(file, content, 0o600 if secret else 0o644)
            old = generations / f".{digest}.old"
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
            stage.rename(target)
            shutil.rmtree(old, ignore_errors=True)
            os.sync()
        except OSError as error:
            raise GatewayError("unpack", f"{error.strerror}: {self.home}") from None
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}

    def keep(self, digest: str, note: Note) -> None:
        """Keep what was learnt of a generation beside it."""
        notes = self.home / "notes"
        notes.mkdir(mode=0o700, exist_ok=True)
        _write(notes / f"{digest}.json", json.dumps(asdict(note), sort_keys=True).encode())

    def switch(self, digest: str | None) -> None:
        """Make a generation the current one, in one step."""
        link, staged = self.home / "current", self.home / ".current"
        staged.unlink(missing_ok=True)
        if digest is None:
            link.unlink(missing_ok=True)
            return
        staged.symlink_to(Path("generations") / digest)
        staged.replace(link)
        _sync(self.home)

    def record(self, digest: str) -> None:
        """The generation is confirmed: the last of the history; those that are too old leave the disk."""
        history = [*self.history(), digest][-50:]
        _write(self.home / "history.json", json.dumps(history).encode())
        recent: list[str] = []
        for known in reversed(history):
            if known not in recent:
                recent.append(known)
        self.prune(set(recent[:KEEP]))

    def prune(self, keep: set[str]) -> None:
        """Remove all generations but these."""
        for path in (self.home / "generations").glob("*"):
            if path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)
                (self.home / "notes" / f"{path.name}.json").unlink(missing_ok=True)

    def discard(self, digest: str) -> None:
        """Remove one generation that never became current."""
        if digest != self.current() and digest not in self.history():
            shutil.rmtree(self.path(digest), ignore_errors=True)
            (self.home / "notes" / f"{digest}.json").unlink(missing_ok=True)

    def pack(self, digest: str) -> bytes:
        """The bundle of a generation, as it was delivered."""
        root = self.path(digest)
        manifest = _read_json(root / MANIFEST)
        listed = manifest.get("files") if isinstance(manifest, dict) else None
        if not isinstance(listed, dict):
            raise _damaged(root / MANIFEST)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
            for path in (MANIFEST, *sorted(listed)):
                file = root / path
                if file.is_file():
                    tar.add(file, arcname=path, filter=_anonymous)
        return buffer.getvalue()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _members(bundle: bytes) -> dict[str, bytes]:
    """Regular files of a tar, by name, read in memory: links, devices and odd names are refused."""
    files: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(_plain(bundle)), mode="r:") as tar:
            for member in tar:
                total += member.size
                if not member.isfile() or not _PATH.match(member.name) or member.name in files:
                    raise GatewayError("unpack", f"unexpected member {member.name[:80]!r}")
                if not 0 <= member.size <= _MAX_MEMBER or total > _MAX_BUNDLE:
                    raise GatewayError("unpack", f"{member.name}: too large")
                stream = tar.extractfile(member)
                files[member.name] = stream.read() if stream is not None else b""
    except (tarfile.TarError, EOFError, OSError, ValueError, RecursionError, zlib.error) as error:
        # headers of a sparse or of an endless file's kind end in the last three
        raise GatewayError("unpack", f"not a bundle: {error}") from None
    return files


def _plain(bundle: bytes) -> bytes:
    """The tar itself: unpacked here, so that a few bytes cannot become more than the memory holds."""
    if not bundle.startswith(b"\x1f\x8b"):
        return bundle
    stream = zlib.decompressobj(wbits=31)
    plain = stream.decompress(bundle, _MAX_BUNDLE + 1)
    if len(plain) > _MAX_BUNDLE:
        raise GatewayError("unpack", "the bundle is too large")
    if not stream.eof:
        raise GatewayError("unpack", "the bundle is cut off")
    return plain


def _manifest(files: dict[str, bytes], digest: str, gateway: str) -> dict[str, dict[str, str]]:
    """The manifest's entries, checked against the files, the digest and the gateway that are expected."""
    try:
        manifest = json.loads(files[MANIFEST])
        entries, found, name = manifest["files"], manifest["digest"], manifest["gateway"]
        listed = {str(path): {str(key): str(value) for key, value in entry.items()} for path, entry in entries.items()}
        whole = hashlib.sha256()
        for path, entry in sorted(listed.items()):
            whole.update(f"{path}\x00{entry.get('mode')}\x00{entry.get('source')}\n".encode())
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise GatewayError("unpack", f"{MANIFEST} is missing or unreadable") from None
    if name != gateway:
        raise GatewayError("unpack", f"the bundle is for {name!r}, this gateway is {gateway!r}")
    if whole.hexdigest()[:32] != found or found != digest:
        raise GatewayError("unpack", f"the bundle is generation {found}, planned was {digest}")
    strange = sorted(set(files) - set(listed) - {MANIFEST}) or sorted(set(listed) - set(files))
    if strange:
        raise GatewayError("unpack", f"{strange[0]}: manifest and bundle differ")
    for path, entry in listed.items():
        if "sha256" in entry and hashlib.sha256(files[path]).hexdigest() != entry["sha256"]:
            raise GatewayError("unpack", f"{path}: its content is not what the manifest says")
    return listed


def _free(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _read_json(path: Path) -> object:
    try:
        return cast("object", json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise GatewayError("read", f"{path}: {error}") from None


def _damaged(path: Path) -> GatewayError:
    return GatewayError("read", f"{path}: is not as this program writes it")


def _create(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one step, on the disk when this returns."""
    staged = path.with_name(f".{path.name}")
    staged.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except OSError as error:
        raise GatewayError("write", f"{path}: {error.strerror}") from None
    finally:
        staged.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
