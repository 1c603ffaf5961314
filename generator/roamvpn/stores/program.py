"""The program for gateways as one executable file: the same bytes for the same sources."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "roamvpn-gateway"
_SHEBANG = b"#!/usr/bin/python3 -I\n"
_MAIN = "import sys\nfrom roamvpn.gateway.program import main\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@cache
def gateway_program() -> bytes:
    """A zip that Python runs, with `roamvpn.gateway` and the parser that it shares with the renderer."""
    root = files("roamvpn")
    sources = {
        "__main__.py": _MAIN.encode(),
        "roamvpn/__init__.py": b"",
        "roamvpn/render/__init__.py": b"",
        "roamvpn/render/swanctl.py": (root / "render" / "swanctl.py").read_bytes(),
    }
    for path in (root / "gateway").iterdir():
        if path.name.endswith(".py"):
            sources[f"roamvpn/gateway/{path.name}"] = path.read_bytes()
    buffer = io.BytesIO(_SHEBANG)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(sources.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def program_digest() -> str:
    """Sixteen digits that name the program's version, as it tells them itself."""
    return hashlib.sha256(gateway_program()).hexdigest()[:16]


def write_program(path: Path) -> None:
    """Write the program where it is not there, or is another one."""
    content = gateway_program()
    if path.is_file() and path.read_bytes() == content:
        return
    staged = path.with_name(f".{path.name}")
    staged.write_bytes(content)
    staged.chmod(0o755)
    staged.replace(path)
