"""The applier on real gateways: legs set, moved and removed under a stream of probes, and what may go wrong.

Run inside the test kernel with a site's directory. Writes `{step: "" or what is wrong}` as JSON to $VM_OUT/results.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.applying import STEPS
from tests.lab.guest import network
from tests.lab.guest.gateways import Gateway, authority
from tests.lab.guest.network import batch, inside, run
from tests.lab.guest.probes import ping
from tests.lab.guest.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

ALICE, BOB, ERIN = "alice@isp3.example", "bob@isp3.example", "erin@isp3.example"
HOME, CN = "203.0.113.5", "10.5.1.9"
AGENTS = ("fa21", "fa21b", "fa22", "ha31", "pcn41", "pcn41b")
DELAY = "2ms"


class Scenario:
    """One after the other; each step leaves alice where the next one finds her."""

    def __init__(self, site: Path) -> None:
        self.started = time.monotonic()
        network.build(
            {
                "alice": ("fa21", HOME),
                "bob": ("fa21", "203.0.113.6"),
                "erin": ("fa21", "203.0.113.9"),
            }
        )
        self._attach("alice", ("fa21b", "fa22"))
        for index in range(len(network.GATEWAYS)):
            inside("internet", "tc", "qdisc", "add", "dev", f"w{index}", "root", "netem", "delay", DELAY)
        self.gateways = {name: Gateway(site, name) for name in network.GATEWAYS}
        self.number = 0
        self.generation = 0
        self.at = "fa21"
        ca = authority()
        for gateway in self.gateways.values():
            gateway.prepare(ca)
            gateway.start_agent()
        for gateway in self.gateways.values():
            gateway.start_charon()
            gateway.ask("base")
        self._foreign()
        self.before = {name: self.gateways[name].ask("live") for name in AGENTS}
        for name in AGENTS:
            self.gateways[name].ask("start", sessions=[])

    def _attach(self, mobile: str, agents: tuple[str, ...]) -> None:
        """The mobile is in reach of further foreign agents; which it uses is its default route."""
        for index, agent in enumerate(agents, 1):
            port = f"h{index}-{mobile}"
            run("ip", "link", "add", port, "netns", agent, "type", "veth", "peer", "name", f"e{index}", "netns", mobile)
            batch(agent, "ip", [f"link set {port} master lan", f"link set {port} up"])
            batch(mobile, "ip", [f"addr add {HOME}/32 dev e{index}", f"link set e{index} up"])
        self.links = {"fa21": "e0"} | {agent: f"e{index}" for index, agent in enumerate(agents, 1)}

    def _foreign(self) -> None:
        """Objects of somebody else that resemble ours."""
        for name in AGENTS:
            lines = [
                "link add other0 type xfrm if_id 77",
                "rule add pref 9999 fwmark 77 lookup 77",
                "route add 203.0.113.200/32 dev lo table 77",
            ]
            batch(name, "ip", lines)
            filter_ = "protocol ip pref 30000 handle 5 flower src_ip 203.0.113.200 action pass"
            batch(name, "tc", [f"filter add block 5222 {filter_}"])

    # orders

    def submit(self, name: str, nai: str, **parts: Any) -> int:  # noqa: ANN401 - as JSON has them
        """A change at a gateway; returns its number, once it was taken."""
        self.number += 1
        self.gateways[name].ask("submit", number=self.number, nai=nai, **parts)
        return self.number

    def loaded(self, name: str, number: int) -> None:
        """Wait until it is loaded."""
        self.gateways[name].until("loaded", number)

    def done(self, name: str, number: int) -> bool:
        """Wait for its end, and say where the time went."""
        ok: bool = self.gateways[name].until("done", number)["ok"]
        timing = self.gateways[name].until("seq", number)
        self.note(f"    {name}: {timing['timing']} {timing['reason']}")
        return ok

    def note(self, what: str) -> None:
        """For whoever watches."""
        sys.stdout.write(f"{time.monotonic() - self.started:6.1f} s  {what}\n")
        sys.stdout.flush()

    def uses(self, agent: str) -> None:
        """The mobile sends by another foreign agent."""
        router = network.GATEWAYS[agent][1].partition("/")[0]
        inside("alice", "ip", "route", "replace", "default", "via", router, "dev", self.links[agent], "onlink")
        self.at = agent

    def register(self, agent: str) -> list[Any]:
        """E1: the home agent first, then the foreign agent, which initiates."""
        here = [ALICE, agent, self.generation]
        at_home = self.submit("ha31", ALICE, set=[here])
        self.loaded("ha31", at_home)
        visiting = self.submit(agent, ALICE, set=[here], initiate=True)
        self.loaded(agent, visiting)
        oks = self.done(agent, visiting), self.done("ha31", at_home)
        return [] if all(oks) else [f"done {oks}"]

    def move(self, agent: str) -> list[str]:
        """E2: the new agent prepares, the home agent brings it up and switches, the old one hands off."""
        old, self.generation = [ALICE, self.at, self.generation], self.generation + 1
        new, over = [ALICE, agent, self.generation], [ALICE, agent, self.generation, self.at]
        prepared = self.submit(agent, ALICE, prepare=[new])
        self.loaded(agent, prepared)
        at_home = self.submit("ha31", ALICE, set=[new], delete=[old], initiate=True)
        self.loaded("ha31", at_home)
        visiting = self.submit(agent, ALICE, set=[new, over], prepared=[new])
        first = self.done(agent, visiting)
        left = self.submit(self.at, ALICE, set=[over], delete=[old], initiate=True)
        oks = [first, self.done(self.at, left), self.done("ha31", at_home)]
        was = self.at
        self.uses(agent)
        self.settle()
        # the hand-off tunnel ends
        gone = [self.submit(was, ALICE, delete=[over]), self.submit(agent, ALICE, delete=[over])]
        oks += [self.done(was, gone[0]), self.done(agent, gone[1])]
        self.settle()
        return [] if all(oks) else [f"done {oks}"]

    def settle(self) -> None:
        """Everywhere."""
        for name in AGENTS:
            self.gateways[name].ask("settled")

    def drift(self, *names: str) -> list[str]:
        """What is not as it shall be, at these gateways."""
        return [f"{name}: {row}" for name in names for row in self.gateways[name].ask("drift")["rows"]]

    def reaches(self, what: str = "") -> list[str]:
        """Whether alice reaches her correspondent."""
        return [] if ping("alice", HOME, CN) else [f"no answer {what}"]

    def loaded_of(self, name: str) -> list[str]:
        """Users' connections and secrets in a charon."""
        live = self.gateways[name].ask("live")
        return [each for each in (*live["connections"], *live["secrets"]) if "rv-p" in each or "rv-h" in each]

    # steps

    def step_set(self) -> list[str]:
        wrong = self.register("fa21")
        self.settle()
        return wrong + self.reaches() + self.drift(*AGENTS)

    def step_unloaded(self) -> list[str]:
        return [f"{name}: {left}" for name in ("fa21", "ha31") if (left := self.loaded_of(name))]

    def step_again(self) -> list[str]:
        wrong = []
        for name in ("fa21", "ha31"):
            before = self.gateways[name].ask("live")
            answer = self.gateways[name].ask("reconcile", sessions=[[ALICE, "fa21", 0]])
            if answer != {"strays": 0, "runs": 0} or self.gateways[name].ask("live") != before:
                wrong.append(f"{name}: {answer}")
        return wrong

    def step_move(self) -> list[str]:
        stream = Stream("alice", HOME, "cn51", CN)
        wrong = self.move("fa21b")
        lost = stream.stop()
        self.note(f"    {stream.told()}")
        return wrong + [f"{way}: lost {numbers}" for way, numbers in lost.items() if numbers] + self.drift(*AGENTS)

    def step_left(self) -> list[str]:
        return self.as_before("fa21")

    def as_before(self, *names: str) -> list[str]:
        """Whether a gateway has what it had before any session."""
        wrong = []
        for name in names:
            now, then = self.gateways[name].ask("live"), self.before[name]
            for kind in ("objects", "connections", "sas", "secrets"):
                odd = [each for each in now[kind] if each not in then[kind]]
                odd += [f"lost {each}" for each in then[kind] if each not in now[kind]]
                wrong += [f"{name}: {kind} {odd}"] if odd else []
            if now["objects"] != then["objects"]:
                wrong.append(f"{name}: objects changed")
        return wrong


def main(site: Path) -> dict[str, str]:
    """Run the steps in their order."""
    scenario = Scenario(site)
    scenario.note("the network stands")
    results = {}
    only = os.environ.get("APPLYING_STEPS", "").split(",")
    for sentence, name in STEPS.items():
        if only != [""] and name not in only:
            continue
        scenario.note(sentence)
        try:
            wrong = "; ".join(getattr(scenario, f"step_{name}")())
        except Exception:  # noqa: BLE001 - a step that breaks has failed, with its traceback
            wrong = traceback.format_exc()
        if wrong:
            scenario.note(f"    FAILED {wrong}")
            for gateway in scenario.gateways.values():
                alarms = [node for node in gateway.told if "alarm" in node]
                scenario.note(f"    {gateway.name} {alarms[-3:]}")
        results[sentence] = wrong
    return results


if __name__ == "__main__":
    found = main(Path(sys.argv[1]))
    Path(os.environ["VM_OUT"], "results.json").write_text(json.dumps(found))
