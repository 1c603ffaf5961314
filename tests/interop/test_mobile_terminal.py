"""`roamvpn mn` on a real socket, against an agent that answers as it was told to, in a network namespace."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.mobile_ip import AAA, HOME
from tests.namespaces import inside, namespace
from tests.signalled import ALICE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AGENT, OLD = "192.0.2.21", "192.0.2.22"
PORT = "5434"


class Place(NamedTuple):
    """A namespace that has the addresses of terminal and agent."""

    pid: int
    keys: Path

    def command(self, what: str, *options: str) -> list[str]:
        who = ["--nai", ALICE, "--home-address", "203.0.113.5", "--home-agent", "192.0.2.31", "--keys", str(self.keys)]
        program = [sys.executable, "-m", "roamvpn", "mn", what, *who, "--port", PORT, "--json", *options]
        # a terminal that nobody answers would ask for ever
        return ["timeout", "30", "nsenter", "-t", str(self.pid), "-n", *program]

    def register(self, *options: str) -> tuple[int, list[dict[str, Any]], str]:
        """Exit code, events, standard error."""
        done = subprocess.run(
            self.command("register", "--agent", AGENT, *options), capture_output=True, text=True, check=False
        )
        return done.returncode, list(map(json.loads, done.stdout.splitlines())), done.stderr


class Agent(NamedTuple):
    """The answering agent; `asked` waits for the next request."""

    process: subprocess.Popen[str]

    def asked(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return] # an object


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    keys = tmp_path / "keys.yml"
    keys.touch(0o600)
    keys.write_text(
        f"mn-ha: {{spi: {HOME.spi}, key: '{HOME.key.hex()}'}}\nmn-aaa: {{spi: {AAA.spi}, key: '{AAA.key.hex()}'}}\n"
    )
    with namespace() as pid:
        for address in ("203.0.113.5", AGENT):
            inside(pid, "ip", "addr", "add", f"{address}/32", "dev", "lo")
        yield Place(pid, keys)


@contextmanager
def agent(place: Place, *actions: str) -> Iterator[Agent]:
    program = [sys.executable, "-m", "tests.answering_agent", PORT, *actions]
    process = subprocess.Popen(["nsenter", "-t", str(place.pid), "-n", *program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Agent(process)
    finally:
        process.terminate()
        process.communicate()


def names(events: list[dict[str, Any]]) -> list[str]:
    return [each["event"] for each in events]


def test_it_registers_and_exits_0(place: Place) -> None:
    with agent(place, "accept") as answering:
        code, events, _ = place.register("--old-agent", OLD, "--service-update", "--lifetime", "77")
        asked = answering.asked()
    assert (code, names(events)) == (0, ["asked", "registered"])
    assert (asked["nai"], asked["lifetime"], asked["old_fa"], asked["update"]) == (ALICE, 77, "fa21b", ["web"])
    assert (events[1]["seq"], events[1]["lifetime"]) == (asked["seq"], 77)


def test_it_asks_again_when_a_request_is_lost(place: Place) -> None:
    with agent(place, "drop", "accept") as answering:
        code, events, _ = place.register()
        first, second = answering.asked(), answering.asked()
    assert (code, names(events)) == (0, ["asked", "asked", "registered"])
    assert first["seq"] < second["seq"]


def test_it_exits_2_when_it_is_refused_and_3_when_nobody_answers(place: Place) -> None:
    with agent(place, "refuse"):
        code, events, _ = place.register()
    assert (code, names(events), events[-1]["code"]) == (2, ["asked", "refused"], 128)
    code, events, said = place.register("--wait", "0.2")
    assert (code, names(events)) == (3, ["asked"])
    assert "no answer within 0.2 s" in said


def test_a_forged_answer_is_reported_and_not_believed(place: Place) -> None:
    with agent(place, "forge"):
        code, events, _ = place.register("--wait", "0.5")
    assert (code, names(events)) == (3, ["asked", "forged"])


def test_it_takes_homes_time_where_its_clock_is_wrong(place: Place) -> None:
    with agent(place, "judge:1000"):
        code, events, _ = place.register()
    assert (code, names(events)) == (0, ["asked", "clock set", "asked", "registered"])
    assert events[1]["offset_s"] in {999, 1000, 1001}


@pytest.mark.parametrize("option", [("--agent", "10.0.0"), ("--old-agent", "fa21"), ("--home-agent", "224.0.0.1")])
def test_it_exits_1_for_what_is_no_address(place: Place, option: tuple[str, str]) -> None:
    code, events, said = place.register(*option)
    assert (code, events) == (1, [])
    assert "Traceback" not in said


def test_keys_that_others_may_read_are_not_used(place: Place) -> None:
    place.keys.chmod(0o644)
    code, _, said = place.register()
    assert code == 1
    assert "Traceback" not in said
    assert HOME.key.hex() not in said


def test_it_is_driven_by_lines_and_refreshes_by_itself(place: Place) -> None:
    with agent(place, "accept") as answering:
        driven = subprocess.Popen(
            place.command("run", "--lifetime", "2"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert driven.stdin is not None
        assert driven.stdout is not None

        def do(**command: object) -> None:
            driven.stdin.write(json.dumps(command) + "\n")  # type: ignore[union-attr] # asserted above
            driven.stdin.flush()  # type: ignore[union-attr]

        def until(event: str) -> dict[str, Any]:
            while (told := json.loads(driven.stdout.readline()))["event"] != event:  # type: ignore[union-attr]
                pass
            return told  # type: ignore[no-any-return] # an object

        until("ready")
        do(do="register", agent=AGENT)
        first = until("registered")
        assert answering.asked()["answered"] == 0
        refreshed = answering.asked()
        assert (refreshed["answered"], refreshed["old_fa"]) == (first["seq"], None)
        until("registered")
        do(do="fly")
        assert until("unknown")["command"] == "fly"
        do(do="register", agent=7)
        until("unknown")
        do(do="leave")
        assert until("left")["lifetime"] == 0
        driven.communicate()
        assert driven.returncode == 0
        rest = answering.asked()
        while rest["lifetime"]:
            rest = answering.asked()
        assert rest["lifetime"] == 0


def test_it_reads_commands_from_a_file(place: Place, tmp_path: Path) -> None:
    commands = tmp_path / "commands"
    commands.write_text("[" * 50_000 + "\n{}\n")
    with commands.open() as file:
        done = subprocess.run(place.command("run"), stdin=file, capture_output=True, text=True, check=False)
    assert (done.returncode, names(list(map(json.loads, done.stdout.splitlines())))) == (
        0,
        ["ready", "unknown", "unknown"],
    )


def test_its_packets_leave_by_the_agent_that_serves_it(place: Place) -> None:
    with namespace() as access, agent(place._replace(pid=access), "accept"):
        inside(place.pid, "ip", "addr", "del", f"{AGENT}/32", "dev", "lo")
        inside(place.pid, "ip", "link", "add", "radio", "type", "veth", "peer", "name", "lan", "netns", str(access))
        inside(place.pid, "ip", "link", "set", "radio", "up")
        inside(place.pid, "ip", "route", "add", AGENT, "dev", "radio", "src", "203.0.113.5")
        inside(access, "ip", "addr", "add", f"{AGENT}/32", "dev", "lan")
        inside(access, "ip", "link", "set", "lan", "up")
        inside(access, "ip", "route", "add", "203.0.113.5", "dev", "lan")
        code, events, _ = place.register("--route")
        assert (code, names(events)[-2:]) == (0, ["registered", "routed"])
        assert inside(place.pid, "ip", "route", "show", "default").split() == [
            *("default", "via", AGENT, "dev", "radio", "src", "203.0.113.5")
        ]


@pytest.mark.parametrize("reason", ["ip: No such file or directory", "RTNETLINK answers: Operation not permitted"])
def test_it_says_when_it_cannot_be_routed(place: Place, reason: str) -> None:
    # no program to ask, or no right to
    less = ["env", "PATH=/nowhere"] if "file" in reason else ["setpriv", "--bounding-set=-net_admin"]
    command = place.command("register", "--agent", AGENT, "--route")
    at = command.index(sys.executable)
    with agent(place, "accept"):
        done = subprocess.run([*command[:at], *less, *command[at:]], capture_output=True, text=True, check=False)
    events = list(map(json.loads, done.stdout.splitlines()))
    assert (done.returncode, names(events)) == (0, ["asked", "registered", "not routed"])
    assert events[-1]["reason"] == reason
