"""What signalling makes a gateway run, a real charon loads: users' legs, and both ends of a hand-off tunnel."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from roamvpn.render.artefacts import Renderer
from roamvpn.sim.embodiments import play
from roamvpn.stores.templates import templates
from roamvpn.tables.gateway_state import Leg
from tests.documents import Documents

if TYPE_CHECKING:
    from pathlib import Path

TABLES = Documents().site().tables


@pytest.mark.parametrize("name", ["E2", "E3", "E5", "E6"])
@pytest.mark.parametrize("end", ["old", "new"])
def test_charon_loads_both_ends_of_a_move(charon: dict[str, str], tmp_path: Path, name: str, end: str) -> None:
    played = play(TABLES, name)
    gateway = played.embodiment.starts if end == "old" else played.embodiment.goes
    assert gateway is not None
    state = played.after.states[gateway]
    renderer = Renderer(TABLES.network, templates(), bytes(32))
    wanted = set()
    for path, artefact in renderer.artefacts(state).items():
        unit = state.units.get(artefact.unit or "")
        if isinstance(unit, Leg):
            file = tmp_path / "conf.d" / path.replace("/", "-")
            file.parent.mkdir(exist_ok=True)
            file.write_text(renderer.text(state, artefact))
            file.chmod(0o600)
            wanted.add(unit.name)
    assert any(each.startswith("rv-h") for each in wanted)
    (tmp_path / "swanctl.conf").write_text("include conf.d/*.conf\n")
    loaded = subprocess.run(
        ["swanctl", "--load-all", "--noprompt"], env=charon, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    for each in wanted:
        assert f"loaded connection '{each}'" in loaded.stdout
        assert f"loaded ike secret 'ike-{each}'" in loaded.stdout
