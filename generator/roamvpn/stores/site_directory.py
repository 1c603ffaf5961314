"""Read a site's input files from a directory or from a git revision of it."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from roamvpn.stores.vault import Unlock, decrypt, is_encrypted
from roamvpn.tables.checks import SECRETS
from roamvpn.tables.problems import InputError, Problem, RoamvpnError, shown
from roamvpn.tables.site import OPTIONAL, REQUIRED

_MAX_BYTES = 256 * 1024 * 1024
_GIT_TIMEOUT = 60


def find_site(given: Path | None) -> Path:
    """The site directory: the one given, or this directory, or the only one below `inventory/`."""
    if given is not None:
        return given
    if Path("network.yml").is_file():
        return Path()
    candidates = sorted(path.parent for path in Path("inventory").glob("*/network.yml"))
    if len(candidates) == 1:
        return candidates[0]
    found = f"{len(candidates)} below inventory/" if candidates else "none here or below inventory/"
    raise RoamvpnError(f"which site? Name its directory (the one with network.yml); {found}")


def read_site(directory: Path, *, with_secrets: bool = True, unlock: Unlock = decrypt) -> dict[str, str]:
    """`{file name: text}` of a site directory; files that are not there are left out."""
    if not directory.is_dir():
        raise RoamvpnError(f"{directory}: no such directory")
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    for name in (*REQUIRED, *OPTIONAL):
        path = directory / name
        if not path.exists() or (name == SECRETS and not with_secrets):
            continue
        try:
            if name == SECRETS:
                texts[name] = read_secrets(path, unlock)
            else:
                texts[name] = _decode(path.read_bytes() if path.stat().st_size <= _MAX_BYTES else b"\xff", name)
        except OSError as error:
            problems.append(Problem(name, 0, "", "", error.strerror or "cannot be read"))
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    return texts


def read_secrets(path: Path, unlock: Unlock = decrypt) -> str:
    """The secrets file's text, decrypted if it is an ansible-vault file; refuses one that others may read."""
    raw = path.read_bytes()
    if is_encrypted(raw):
        return _decode(unlock(raw, path.name), path.name)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        message = f"is readable by others (mode {mode:04o}); make it 0600 or encrypt it with ansible-vault"
        raise InputError([Problem(path.name, 0, "", "", message)])
    return _decode(raw, path.name)


def read_revision(directory: Path, revision: str) -> dict[str, str]:
    """The site's files as they are in a git revision, without secrets."""
    if not directory.is_dir():
        raise RoamvpnError(f"{directory}: no such directory")
    commit = _git(directory, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    prefix = _git(directory, "rev-parse", "--show-prefix").strip()
    listed = _git(directory, "ls-tree", "-z", "--name-only", "--full-tree", commit, "--", *_paths(prefix)).split("\x00")
    texts = {}
    for name in (*REQUIRED, *OPTIONAL):
        if name != SECRETS and f"{prefix}{name}" in listed:
            texts[name] = _git(directory, "show", "--end-of-options", f"{commit}:{prefix}{name}")
    if not texts:
        raise RoamvpnError(f"{shown(revision)} has no site at {prefix or './'}")
    return texts


def _paths(prefix: str) -> list[str]:
    return [f"{prefix}{name}" for name in (*REQUIRED, *OPTIONAL)]


def _git(directory: Path, *arguments: str) -> str:
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - an argument list; the revision stands behind --end-of-options
            ["git", "-C", str(directory), *arguments],  # noqa: S607 - the user's git
            capture_output=True,
            check=True,
            timeout=_GIT_TIMEOUT,
            env=environment,
        )
    except FileNotFoundError:
        raise RoamvpnError("git is not installed") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()
        detail = shown(reason[-1])[1:-1] if reason else "no such revision"
        raise RoamvpnError(f"git: {detail}") from None
    return _decode(done.stdout, "git")


def _decode(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError([Problem(name, line, "", "", "is not UTF-8 text, or too large")]) from None
