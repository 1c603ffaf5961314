"""Kernel settings of a generation, base/sysctl.conf, against /proc/sys."""

from __future__ import annotations

from pathlib import Path

from roamvpn.gateway.errors import GatewayError

_ROOT = Path("/proc/sys")


def wanted(generation: Path) -> dict[str, str]:
    """Settings by path below /proc/sys."""
    path = generation / "base/sysctl.conf"
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise GatewayError("read", f"base/sysctl.conf: {error}") from None
    rows = [line.partition("=") for line in lines if "=" in line and line[0] != "#"]
    found = {key.strip(): value.strip() for key, _equals, value in rows}
    for key in found:
        if not key.startswith("net/ipv4/") or ".." in key:
            raise GatewayError("read", f"base/sysctl.conf: unexpected setting {key!r}")
    return found


def differing(settings: dict[str, str]) -> dict[str, str]:
    """What stands otherwise now, by path; `absent` where there is no such setting."""
    found = {}
    for key, value in settings.items():
        try:
            stands = (_ROOT / key).read_text().strip()
        except OSError:
            stands = "absent"
        if stands != value:
            found[key] = stands
    return found


def present(key: str) -> bool:
    """Whether the kernel has such a setting; those of an interface go with it."""
    return (_ROOT / key).exists()


def apply(settings: dict[str, str]) -> list[str]:
    """Set what differs; returns what was set."""
    done = []
    for key in differing(settings):
        try:
            (_ROOT / key).write_text(settings[key])
        except OSError as error:
            raise GatewayError("kernel", f"sysctl {key}: {error.strerror}") from None
        done.append(f"sysctl {key}")
    return done
