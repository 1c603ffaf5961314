"""Playbooks' generations and an agent's sessions on one gateway: neither takes away what is the other's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.namespaces import inside, namespace

if TYPE_CHECKING:
    from pathlib import Path

_VISITOR, _LEFT_OVER = "203.0.113.5", "203.0.113.6"
_PROGRAM = f"""
import json, sys
from pathlib import Path
from roamvpn.gateway.activation import Gateway, Places, _orphans
from roamvpn.gateway.generations import Note
home = Path(sys.argv[1])
gateway = Gateway(Places(home=home, run=home / "run"), ["true"])
gateway.store.path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
gateway.store.keep(sys.argv[2], Note({{"route {_LEFT_OVER} table 400000": {{}}}}, {{}}))
print(json.dumps(_orphans({{}}, gateway._brought(sys.argv[2]) if gateway.shared else None)))
"""


@pytest.mark.parametrize("agent", [False, True])
def test_what_an_agent_has_set_stays_when_a_generation_comes(tmp_path: Path, *, agent: bool) -> None:
    if agent:
        (tmp_path / "agent").mkdir()
    with namespace() as pid:
        for address in (_VISITOR, _LEFT_OVER):
            inside(pid, "ip", "route", "add", f"{address}/32", "dev", "lo", "table", "400000")
        inside(pid, "env", "PYTHONPATH=generator", sys.executable, "-c", _PROGRAM, str(tmp_path), "0" * 32)
        left = inside(pid, "ip", "route", "show", "table", "all")
    assert (_VISITOR in left) is agent
    # what the generation before had brought goes in either case
    assert _LEFT_OVER not in left
