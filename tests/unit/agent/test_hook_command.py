"""`roamvpn hook` against a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING

import pytest
import structlog
from click.testing import CliRunner, Result

from roamvpn.agent.events import MAX_BYTES
from roamvpn.agent.hook_command import hook as command
from roamvpn.tables.problems import RoamvpnError
from tests.hooked import AGENT, fields, hook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from roamvpn.agent.events import Event

ALICE = ("--nai", "alice@isp3.example", "--home-address", "10.3.0.11", "--agent", AGENT)


@pytest.fixture(autouse=True)
def _without_logs() -> Iterator[None]:
    """The server runs in this process too, whose output is taken for the command's."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def told(tmp_path: Path, *calls: tuple[str, ...], stdin: str | bytes | None = None) -> tuple[list[Result], list[Event]]:
    """The results of these calls, and what the spool holds then."""

    async def main() -> tuple[list[Result], list[Event]]:
        async with hook(tmp_path, None) as running:
            results = []
            for call in calls:
                arguments = [*call, "--socket", str(running.path)]
                results.append(await asyncio.to_thread(CliRunner().invoke, command, arguments, input=stdin))
            return results, await running.waiting()

    return asyncio.run(main())


def test_each_kind_of_event_can_be_told(tmp_path: Path) -> None:
    results, events = told(
        tmp_path,
        ("register", *ALICE, "--previous-gateway", "fa22", "--session", "s 1", "--lifetime", "60"),
        ("refresh", *ALICE),
        ("service-update", *ALICE),
        ("deregister", *ALICE),
    )
    assert [(each.exit_code, json.loads(each.output)["result"]) for each in results] == [(0, "accepted")] * 4
    assert [each.type for each in events] == ["register", "refresh", "service_update", "deregister"]
    assert [each.lifetime_s for each in events] == [60, 1800, 1800, 0]
    assert (events[0].prev_gw, events[0].session_id, events[0].source) == ("fa22", "s 1", "manual")


def test_an_event_is_read_from_standard_input(tmp_path: Path) -> None:
    event = json.dumps(fields(1, observed_at=int(time.time())))
    results, events = told(tmp_path, ("register", "--json"), ("register", "--json"), stdin=event)
    assert [(each.exit_code, json.loads(each.output)["result"]) for each in results] == [
        (0, "accepted"),
        (0, "duplicate"),
    ]
    assert [each.encoded() for each in events] == [event.replace(" ", "").encode()]


@pytest.mark.parametrize("stdin", ["{", "x" * (MAX_BYTES + 1), json.dumps(fields(type="refresh"))])
def test_what_is_no_such_event_is_told_before_anybody_is_asked(tmp_path: Path, stdin: str) -> None:
    (result,), events = told(tmp_path, ("register", "--json"), stdin=stdin)
    assert isinstance(result.exception, RoamvpnError)
    assert events == []


def test_a_refusal_is_exit_code_1_with_the_reply(tmp_path: Path) -> None:
    first, second = told(tmp_path, ("register", *ALICE, "--seq", "9"), ("register", *ALICE, "--seq", "8"))[0]
    assert (first.exit_code, second.exit_code) == (0, 1)
    assert json.loads(second.output)["result"] == "stale"


def test_all_that_is_missing_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROAMVPN_AGENT", AGENT)
    (result,), _events = told(tmp_path, ("register",))
    assert str(result.exception).splitlines() == ["event: home_addr: Field required", "event: nai: Field required"]


def test_no_agent_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["register", *ALICE, "--socket", str(tmp_path / "nowhere")])
    assert str(result.exception) == f"{tmp_path}/nowhere: the agent does not answer: No such file or directory"
