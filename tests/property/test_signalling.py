"""After any history every node holds what the central compile says (F9); and the oracle that says so bites."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from roamvpn.sim import chaos
from roamvpn.sim.drawn_site import agents_of, nodes_of
from roamvpn.sim.history import CALM, ROUGH, STORMY, Action, History, draw
from roamvpn.sim.shrink import report, shrink
from tests.property.mutations import MUTATIONS

if TYPE_CHECKING:
    from roamvpn.sim.options import Faults

REGISTRATIONS = 200_000
"""How many the histories of a test run hold at least; `roamvpn simulate faults` goes on through a night."""
BATCH = 50


def _batch(start: int) -> tuple[int, list[int]]:
    """Registrations in a batch of histories, and the seeds that failed."""
    done, failed = 0, []
    for seed in range(start, start + BATCH):
        outcome = chaos.run(draw(seed))
        done += outcome.registrations
        if outcome.differences:
            failed.append(seed)
    return done, failed


def test_after_any_history_every_node_holds_what_the_compile_says() -> None:
    done, start = 0, 0
    failed: list[int] = []
    workers = min(len(os.sched_getaffinity(0)), 4)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while done < REGISTRATIONS and not failed:
            starts = [start + BATCH * number for number in range(2 * workers)]
            start = starts[-1] + BATCH
            for registrations, seeds in pool.map(_batch, starts):
                done += registrations
                failed += seeds
    if failed:
        shorter = shrink(draw(failed[0]))
        pytest.fail(f"seeds {failed}\n{report(shorter, chaos.run(shorter))}")


def test_a_history_repeats_to_the_last_message() -> None:
    first, second = chaos.run(draw(5)), chaos.run(draw(5))
    assert first == second
    assert first.messages > 500


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_oracle_bites(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[name](monkeypatch)
    for seed in range(400):
        try:
            if chaos.run(draw(seed)).differences:
                return
        except (KeyError, TypeError, ValueError, AssertionError):
            # a machine that was broken may also just fall over
            return
    pytest.fail("nobody noticed")


def test_a_failing_history_is_cut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS["the old foreign agent skips a delete (F4)"](monkeypatch)
    history = next(h for h in map(draw, range(100)) if chaos.run(h).differences)
    shorter = shrink(history)
    assert len(shorter.actions) <= 3 < len(history.actions)
    text = report(shorter, chaos.run(shorter))
    assert f"seed {history.seed}" in text
    assert "must not be" in text


_SITES = [draw(seed) for seed in range(12)]


class Histories(RuleBasedStateMachine):
    """Hypothesis draws what happens; the oracle is asked whenever all is still, and at the end."""

    @initialize(site=st.sampled_from(_SITES), faults=st.sampled_from([CALM, ROUGH, STORMY]))
    def begin(self, site: History, faults: Faults) -> None:
        self.site = site
        self.world = chaos.world_of(site)
        self.world.options.faults = self.faults = faults
        self.users = sorted(site.tables.subscribers)
        self.agents, self.nodes = agents_of(site.tables), nodes_of(site.tables)

    def _do(self, what: str, who: str = "", where: str = "") -> None:
        chaos.act(self.world, Action(0, what, who, where))

    @rule(data=st.data(), what=st.sampled_from(["move", "move", "move", "refresh", "deregister", "vanish"]))
    def user(self, data: st.DataObject, what: str) -> None:
        self._do(what, data.draw(st.sampled_from(self.users)), data.draw(st.sampled_from(self.agents)))

    @rule(data=st.data())
    def customise(self, data: st.DataObject) -> None:
        drawn = [action for action in self.site.actions if action.what == "customise"]
        if drawn:
            chaos.act(self.world, data.draw(st.sampled_from(drawn)))

    @rule(milliseconds=st.sampled_from([1, 3, 4, 10, 40, 300, 2500]))
    def wait(self, milliseconds: int) -> None:
        self.world.run(self.world.now + milliseconds * 1000)

    @precondition(lambda self: self.faults is STORMY)
    @rule(data=st.data(), what=st.sampled_from(["crash", "restart", "cut"]))
    def fault(self, data: st.DataObject, what: str) -> None:
        node = st.sampled_from(self.nodes)
        self._do(what, data.draw(node), data.draw(node))

    @rule()
    def still(self) -> None:
        self._ask(settled=False)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self._ask(settled=True)

    def _ask(self, *, settled: bool) -> None:
        found = chaos.at_rest(self.world, self.faults, settled=settled)
        self.world.options.faults = self.faults
        assert found == []


TestHistories = Histories.TestCase
# the same examples in each run, as with the seeds above: who looks for new ones lets `simulate faults` run
TestHistories.settings = settings(
    derandomize=True, max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
