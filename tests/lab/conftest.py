"""Runs of the laboratory that several test files read."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab import testkernel
from tests.lab.site import site

if TYPE_CHECKING:
    from pathlib import Path

Results = dict[str, dict[str, str]]


def _results(work: Path, *, static_keys: bool) -> Results:
    made = site(work, static_keys=static_keys)
    # the python of this environment, by the directory that both kernels see
    argv = ["env", "PYTHONPATH=.:generator", sys.executable, "-m", "tests.lab.guest.scenario", str(made)]
    out = work / "out"
    said = testkernel.find().run(out, *argv, *(["static"] if static_keys else []), seconds=2400)
    sys.stdout.write(said)
    found: Results = json.loads((out / "results.json").read_text())
    return found


@pytest.fixture(scope="session")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The whole network, keys by IKEv2, and then the life of its gateways."""
    return _results(tmp_path_factory.mktemp("managed"), static_keys=False)


@pytest.fixture(scope="session")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The network with keys set by hand towards the enterprise."""
    return _results(tmp_path_factory.mktemp("static"), static_keys=True)
