"""Runs of the laboratory that several test files read."""

from __future__ import annotations

import json
import os
import queue
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.lab.site import site
from tests.lab.testkernel import TestKernel, find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Results = dict[str, dict[str, str]]


class Run(NamedTuple):
    """A program of the guest, with how its site is made and what it is told besides."""

    program: str
    seconds: int
    site: dict[str, bool]
    arguments: tuple[str, ...] = ()


# the longest first: two run side by side, each on a processor of its own
RUNS = {
    "managed": Run("scenario", 3000, {}),
    "live": Run("live", 1800, {"sessions": False}),
    "by_hand": Run("scenario", 3000, {"static_keys": True}, ("static",)),
    "applied": Run("applying", 1500, {}),
}


def _results(run: Run, work: Path, kernel: TestKernel, processors: queue.Queue[int]) -> Any:  # noqa: ANN401 - its JSON
    made = site(work, **run.site)
    # the python of this environment, by the directory that both kernels see
    argv = ["env", "PYTHONPATH=.:generator", sys.executable, "-m", f"tests.lab.guest.{run.program}", str(made)]
    out, number = work / "out", processors.get()
    try:
        said = kernel.run(out, *argv, *run.arguments, seconds=run.seconds, number=number)
    finally:
        processors.put(number)
    sys.stdout.write(said)
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="session")
def _runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """The runs that selected tests read: each takes minutes."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    kernel = find()
    processors: queue.Queue[int] = queue.Queue()
    for number in range(len(os.sched_getaffinity(0))):
        processors.put(number)
    with ThreadPoolExecutor(processors.qsize()) as pool:
        yield {
            name: pool.submit(_results, run, tmp_path_factory.mktemp(name), kernel, processors)
            for name, run in RUNS.items()
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


@pytest.fixture(scope="session")
def live(_runs: dict[str, Future[dict[str, dict[str, Any]]]]) -> dict[str, dict[str, Any]]:
    """The network alive: daemons everywhere, mobiles that roam."""
    return _runs["live"].result()


@pytest.fixture(scope="session")
def applied(_runs: dict[str, Future[dict[str, str]]]) -> dict[str, str]:
    """The applier with a real charon and a real kernel."""
    return _runs["applied"].result()
