"""Runs of the laboratory that several test files read."""

from __future__ import annotations

import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.lab.site import site
from tests.lab.testkernel import TestKernel, find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Results = dict[str, dict[str, str]]


def _results(work: Path, kernel: TestKernel, *, static_keys: bool) -> Results:
    made = site(work, static_keys=static_keys)
    # the python of this environment, by the directory that both kernels see
    argv = ["env", "PYTHONPATH=.:generator", sys.executable, "-m", "tests.lab.guest.scenario", str(made)]
    out = work / "out"
    said = kernel.run(out, *argv, *(["static"] if static_keys else []), seconds=3000, number=static_keys)
    sys.stdout.write(said)
    found: Results = json.loads((out / "results.json").read_text())
    return found


@pytest.fixture(scope="session")
def _runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Results]]]:
    """The runs that selected tests read, side by side: each takes minutes and one processor."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    kernel = find()
    with ThreadPoolExecutor() as pool:
        yield {
            name: pool.submit(_results, tmp_path_factory.mktemp(name), kernel, static_keys=static_keys)
            for name, static_keys in (("managed", False), ("by_hand", True))
            if name in wanted
        }


@pytest.fixture(scope="session")
def managed(_runs: dict[str, Future[Results]]) -> Results:
    """The whole network, keys by IKEv2, and then the life of its gateways."""
    return _runs["managed"].result()


@pytest.fixture(scope="session")
def by_hand(_runs: dict[str, Future[Results]]) -> Results:
    """The network with keys set by hand towards the enterprise."""
    return _runs["by_hand"].result()
