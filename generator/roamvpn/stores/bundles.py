"""Bundles: a gateway's rendered directory as one tar file, the same bytes for the same content."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from roamvpn.render.manifest import FOREIGN, INCLUDED, MANIFEST, Manifest, content_digest, parse
from roamvpn.stores.tree import create
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_MAX_MEMBER = 16 * 1024 * 1024
_MAX_BUNDLE = 256 * 1024 * 1024


def pack(directory: Path) -> bytes:
    """The tar of a rendered gateway: sorted, owned by root, no times."""
    buffer = io.BytesIO()
    manifest = parse((directory / MANIFEST).read_bytes())
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted((MANIFEST, *manifest.files)):
            content = (directory / path).read_bytes()
            member = tarfile.TarInfo(path)
            member.size = len(content)
            member.mode = int(manifest.files[path].mode, 8) if path in manifest.files else 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write_bundles(tree: Path, out: Path) -> list[Path]:
    """A `<gateway>.tar` in `out` for every gateway of a rendered tree; each replaced in one step."""
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for manifest in sorted(tree.glob(f"*/{MANIFEST}")):
        target = out / f"{manifest.parent.name}.tar"
        staged = out / f".{target.name}"
        staged.unlink(missing_ok=True)
        create(staged, pack(manifest.parent), 0o600)
        staged.replace(target)
        written.append(target)
    return written


def unpack(bundle: bytes, target: Path) -> Manifest:
    """Write the files that a bundle's manifest names to a new directory; raises RoamvpnError where they do not fit."""
    try:
        files = _members(bundle)
        manifest = parse(files[MANIFEST])
    except (tarfile.TarError, EOFError, KeyError, OSError):
        raise RoamvpnError("what the gateway sent is not a bundle") from None
    for path, entry in manifest.files.items():
        if path not in files or not entry.fits(files[path], None):
            raise RoamvpnError(f"{manifest.gateway}: {path} is not what the manifest says")
        (target / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create(target / path, files[path], int(entry.mode, 8))
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    create(target / MANIFEST, files[MANIFEST], 0o644)
    return manifest


def _members(bundle: bytes) -> dict[str, bytes]:
    """Regular files by name, in memory: only what a manifest names is ever written, so odd names do no harm."""
    files: dict[str, bytes] = {}
    total = 0
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:*") as tar:
        for member in tar:
            total += member.size
            if total > _MAX_BUNDLE:
                raise tarfile.TarError("too large")
            stream = tar.extractfile(member) if member.isfile() and member.size <= _MAX_MEMBER else None
            if stream is not None:
                files[member.name] = stream.read()
    return files


class BundleSide:
    """Bundles fetched from the gateways, read in memory and never unpacked: members are what their manifest names."""

    def __init__(self, directory: Path, key: bytes | None = None) -> None:
        """`key` is that of the fingerprints; without it an edited secret is not noticed."""
        self._key = key
        self._files: dict[str, dict[str, bytes]] = {}
        self._manifests: dict[str, Manifest] = {}
        if not directory.is_dir():
            raise RoamvpnError(f"{directory}: no such directory")
        for path in sorted(directory.glob("*.tar")):
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            if path.stat().st_size > _MAX_BUNDLE:
                raise RoamvpnError(f"{path}: is larger than {_MAX_BUNDLE} bytes")
            files = _members(path.read_bytes())
            manifest = parse(files[MANIFEST])
        except (tarfile.TarError, EOFError, KeyError, OSError):
            raise RoamvpnError(f"{path}: is not a bundle") from None
        if manifest.gateway != path.stem:
            raise RoamvpnError(f"{path}: is the bundle of {manifest.gateway}")
        self._files[path.stem] = files
        self._manifests[path.stem] = manifest

    def gateways(self) -> Iterable[str]:
        """Gateways with a bundle."""
        return self._files

    def sources(self, gateway: str) -> Mapping[str, str]:
        """Digests by path, as the manifest gives them where the content still fits."""
        manifest = self._manifests.get(gateway)
        if manifest is None:
            return {}
        found = {}
        for path, entry in manifest.files.items():
            content = self._files[gateway].get(path)
            if content is not None:
                edited = f"edited {content_digest(content)}"
                found[path] = entry.source if entry.fits(content, self._key) else edited
        found.update({path: FOREIGN for path in self._files[gateway] if INCLUDED.match(path) and path not in found})
        return found

    def text(self, gateway: str, path: str) -> str | None:
        """The file in the bundle."""
        return self._files[gateway][path].decode(errors="backslashreplace")
