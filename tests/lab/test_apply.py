"""The applier with a real charon and a real kernel. What is wrong is told by the run itself, with timings under -s."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.applying import STEPS, with_storm
from tests.lab.site import site
from tests.lab.testkernel import find

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One run of the scenario: what is wrong, by step."""
    work: Path = tmp_path_factory.mktemp("applying")
    made = with_storm(site(work))
    argv = ["env", "PYTHONPATH=.:generator", sys.executable, "-m", "tests.lab.guest.applying", str(made)]
    sys.stdout.write(find().run(work / "out", *argv, seconds=1500))
    found: dict[str, str] = json.loads((work / "out/results.json").read_text())
    return found


@pytest.mark.parametrize("step", STEPS)
def test_applying(applied: dict[str, str], step: str) -> None:
    # D14 to D16, F2, F4, F7, G23
    assert applied[step] == ""
