"""A history that fails, cut down to what it needs for that (ddmin), and told to a person."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from roamvpn.sim.chaos import run
from roamvpn.sim.history import CALM, ROUGH

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.sim.chaos import Outcome
    from roamvpn.sim.history import Action, History
    from roamvpn.sim.options import Faults


def shrink(history: History, budget: int = 400) -> History:
    """A shorter history that still fails: rounds, then faults, then actions are left out, in `budget` runs at most."""
    left = budget

    def fails(candidate: History) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and bool(run(candidate).differences)

    for number in reversed(range(len(history.rounds))):
        fewer = replace(history, rounds=history.rounds[:number] + history.rounds[number + 1 :])
        if len(history.rounds) > 1 and fails(fewer):
            history = fewer
    for number in range(len(history.rounds)):
        history = _fewer_actions(_calmer(history, number, fails), number, fails)
    return history


def _calmer(history: History, number: int, fails: Callable[[History], bool]) -> History:
    was, actions = history.rounds[number]
    for faults in (CALM, ROUGH):
        calmer = _with_round(history, number, faults, actions)
        if was not in (CALM, faults) and fails(calmer):
            return calmer
    return history


def _fewer_actions(history: History, number: int, fails: Callable[[History], bool]) -> History:
    faults, actions = history.rounds[number]
    size = max(len(actions) // 2, 1)
    while True:
        start = 0
        while start < len(actions):
            fewer = actions[:start] + actions[start + size :]
            candidate = _with_round(history, number, faults, fewer)
            if fails(candidate):
                history, actions = candidate, fewer
            else:
                start += size
        if size == 1:
            return history
        size //= 2


def _with_round(history: History, number: int, faults: Faults, actions: tuple[Action, ...]) -> History:
    rounds = list(history.rounds)
    rounds[number] = (faults, actions)
    return replace(history, rounds=tuple(rounds))


def report(history: History, outcome: Outcome) -> str:
    """What a person needs to see and repeat a failure."""
    lines = [f"seed {history.seed}, {history.order}, {outcome.when}:"]
    lines += [f"  {each}" for each in outcome.differences[:20]]
    for number, (faults, actions) in enumerate(history.rounds, 1):
        lines.append(f"round {number}, {faults}:")
        lines += [f"  {action}" for action in actions]
    return "\n".join(lines)
