"""A site as a playbook run sees it: checked once by the inventory, used by every action that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.engine import checked_site
from roamvpn.stores.vault import decrypt
from roamvpn.tables.site import OPTIONAL, REQUIRED

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.stores.vault import Unlock
    from roamvpn.tables.site import Site

_Stamp = tuple[tuple[str, int, int, int], ...]

# Actions run in processes forked from the one that parsed the inventory, so they find here what it put here.
_checked: dict[str, tuple[_Stamp, Site]] = {}


def site_of(directory: Path, unlock: Unlock = decrypt) -> Site:
    """The checked site; read again only if a file has changed. Raises InputError with all problems."""
    key, stamp = str(directory.resolve()), _stamp(directory)
    known = _checked.get(key)
    if known is not None and known[0] == stamp:
        return known[1]
    site = checked_site(directory, unlock)
    _checked[key] = stamp, site
    return site


def _stamp(directory: Path) -> _Stamp:
    found = []
    for name in (*REQUIRED, *OPTIONAL):
        try:
            status = (directory / name).stat()
        except OSError:
            continue
        found.append((name, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
