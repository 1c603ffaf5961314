"""The applier on real gateways: legs set, moved and removed under a stream of probes, and what may go wrong.

Run inside the test kernel with a site's directory; writes `{step: "" or what is wrong}` to $VM_OUT/results.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.lab.applying import STEPS, STORM
from tests.lab.guest import network
from tests.lab.guest.gateways import Gateway, authority
from tests.lab.guest.network import batch, inside, run
from tests.lab.guest.probes import ping
from tests.lab.guest.stream import Stream

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
        # the enterprise first, for home agents initiate towards it
        for gateway in reversed(self.gateways.values()):
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
        was = self.at
        self.uses(agent)
        left = self.submit(was, ALICE, set=[over], delete=[old], initiate=True)
        oks = [first, self.done(was, left), self.done("ha31", at_home)]
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

    def step_again_there(self) -> list[str]:
        """Another key at the same agent, as after a service update: both ends have a successor of the same name."""
        old, self.generation = [ALICE, self.at, self.generation], self.generation + 1
        new = [ALICE, self.at, self.generation]
        stream = Stream("alice", HOME, "cn51", CN)
        at_home = self.submit("ha31", ALICE, set=[new], delete=[old])
        self.loaded("ha31", at_home)
        visiting = self.submit(self.at, ALICE, set=[new], delete=[old], initiate=True)
        oks = self.done(self.at, visiting), self.done("ha31", at_home)
        self.settle()
        lost = stream.stop()
        self.note(f"    {stream.told()}")
        wrong = [] if all(oks) else [f"done {oks}"]
        return wrong + [f"{way}: lost {numbers}" for way, numbers in lost.items() if numbers] + self.drift(*AGENTS)

    def step_shared(self) -> list[str]:
        """Bob's association is shared, erin's packets are encapsulated only: devices come and go with them."""
        wrong = []
        for nai, far, home, address in (
            (BOB, "pcn41", "203.0.113.6", "198.51.100.9"),
            (ERIN, "pcn41b", "203.0.113.9", "198.51.100.200"),
        ):
            here, user = [nai, "fa21", 0], nai.partition("@")[0]
            there = self.submit(far, nai, set=[here])
            self.loaded(far, there)
            visiting = self.submit("fa21", nai, set=[here], initiate=True)
            oks = self.done("fa21", visiting), self.done(far, there)
            wrong += [] if all(oks) else [f"{user}: done {oks}"]
            wrong += [] if ping(user, home, address) else [f"{user}: no answer"]
            wrong += self.drift("fa21", far)
            gone = self.submit(far, nai, delete=[here]), self.submit("fa21", nai, delete=[here])
            oks = self.done(far, gone[0]), self.done("fa21", gone[1])
            self.settle()
            wrong += [] if all(oks) else [f"{user}: done {oks}"]
            wrong += self.as_before("fa21", far)
        return wrong

    def step_rollback(self) -> list[str]:
        """The next agent has not prepared, so nothing comes up; then it has, and nobody need ask again."""
        old = [ALICE, self.at, self.generation]
        self.generation += 1
        new = [ALICE, "fa22", self.generation]
        stream = Stream("alice", HOME, "cn51", CN)
        at_home = self.submit("ha31", ALICE, set=[new], delete=[old], initiate=True)
        wrong = ["it came up"] if self.done("ha31", at_home) else []
        lost = stream.stop()
        wrong += [f"{way}: lost {numbers}" for way, numbers in lost.items() if numbers]
        alarm = self.gateways["ha31"].until("alarm")["alarm"]
        if alarm[0] != ALICE or "fa22" not in alarm[2]:
            wrong.append(f"alarm {alarm}")
        prepared = self.submit("fa22", ALICE, prepare=[new])
        self.loaded("fa22", prepared)
        visiting = self.submit("fa22", ALICE, set=[new], prepared=[new])
        wrong += [] if self.done("fa22", visiting) else ["fa22 is not done"]
        was = self.at
        self.uses("fa22")
        gone = self.submit(was, ALICE, delete=[old])
        wrong += [] if self.done(was, gone) else [f"{was} is not done"]
        self.rest("ha31")
        self.settle()
        return wrong + self.reaches() + self.drift(*AGENTS) + self.as_before(was)

    def rest(self, name: str) -> None:
        """Wait until a gateway has nothing to try again."""
        deadline = time.monotonic() + 20
        while self.gateways[name].ask("drift")["rows"] and time.monotonic() < deadline:
            self.gateways[name].ask("settled")
            time.sleep(0.1)

    def step_kill(self) -> list[str]:
        """At every step of a move, at the home agent and then at the new foreign agent."""
        wrong = []
        for name in ("ha31", "new"):
            count = 0
            while True:
                count += 1
                died, found = self.killed(name, count)
                wrong += [f"{name} after {count} steps: {each}" for each in found]
                if not died:
                    break
        return wrong

    def killed(self, whom: str, steps: int) -> tuple[bool, list[str]]:
        """A move during which one applier dies after so many steps; whether it did, and what is wrong then."""
        agent = "fa21" if self.at != "fa21" else "fa21b"
        was, old = self.at, [ALICE, self.at, self.generation]
        self.generation += 1
        new = [ALICE, agent, self.generation]
        victim = "ha31" if whom == "ha31" else agent
        stands = {"ha31": [old], was: [old], agent: []}
        self.gateways[victim].ask("stop")
        self.gateways[victim].kill_agent()
        self.gateways[victim].told.clear()
        self.gateways[victim].restart_agent(stands[victim])
        self.gateways[victim].ask("arm", steps=steps)
        died = False
        try:
            prepared = self.submit(agent, ALICE, prepare=[new])
            self.loaded(agent, prepared)
            at_home = self.submit("ha31", ALICE, set=[new], delete=[old], initiate=True)
            visiting = self.submit(agent, ALICE, set=[new], prepared=[new])
            self.done(agent, visiting)
            self.done("ha31", at_home)
            self.gateways[victim].ask("settled")
            self.gateways[victim].ask("arm", steps=0)
        except (EOFError, BrokenPipeError):
            died = True
            self.gateways[victim].await_death()
            # the node's store has the new state; what was to be sent is sent again
            self.gateways[victim].restart_agent([new])
            if victim != "ha31":
                self.submit("ha31", ALICE, set=[new], delete=[old], initiate=True)
            else:
                self.submit(agent, ALICE, set=[new])
        self.uses(agent)
        self.submit(was, ALICE, delete=[old])
        for name in (agent, "ha31", was):
            self.rest(name)
        self.settle()
        return died, self.drift(*AGENTS) + self.reaches(f"at {agent}") + self.as_before(was)

    def step_charon(self) -> list[str]:
        """charon at the foreign agent is restarted, then at the home agent; users' associations come back."""
        wrong = []
        for name in (self.at, "ha31"):
            gateway = self.gateways[name]
            gateway.stop_charon()
            gateway.start_charon()
            gateway.ask("base_charon")
            self.rest(name)
            self.rest("ha31" if name == self.at else self.at)
            wrong += [f"{name}: {each}" for each in self.drift(self.at, "ha31") + self.reaches()]
        return wrong

    def step_storm(self) -> list[str]:
        """Many users register at once at two gateways, each with an association of his own."""
        at = ["fa21", 0]
        near, far = self.gateways["fa21"], self.gateways["pcn41"]
        started = time.monotonic()
        there = [self.submit("pcn41", nai, set=[[nai, *at]]) for nai in STORM]
        for number in there:
            self.loaded("pcn41", number)
        loaded = time.monotonic()
        here = [self.submit("fa21", nai, set=[[nai, *at]], initiate=True) for nai in STORM]
        failed = [number for number in here if not near.until("done", number)["ok"]]
        # who only waits may have given up meanwhile: it comes to the same
        for number in there:
            far.until("done", number)
        took = time.monotonic() - loaded
        ends = [near.until("seq", number) for number in here]
        totals = sorted(end["timing"]["total"] for end in ends)
        runs = near.ask("runs")
        self.note(
            f"    {len(STORM)} users: loaded after {loaded - started:.2f} s, up {took:.2f} s later; at fa21 median "
            f"{totals[len(totals) // 2]} ms, slowest {totals[-1]} ms, processes {runs}"
        )
        for name in ("fa21", "pcn41"):
            self.rest(name)
        wrong = [f"not done: {sorted(end['reason'] for end in ends if not end['ok'])}"] if failed else []
        wrong += self.drift("fa21", "pcn41")
        wrong += [f"{name}: {left}" for name in ("fa21", "pcn41") if (left := self.loaded_of(name))]
        for name in ("fa21", "pcn41"):
            for nai in STORM:
                self.submit(name, nai, delete=[[nai, *at]])
        self.settle()
        return wrong + self.as_before("pcn41")

    def step_strays(self) -> list[str]:
        """What nobody wants is found after a restart and removed; what only resembles ours is not."""
        name = "fa21b" if self.at != "fa21b" else "fa21"
        gateway = self.gateways[name]
        gateway.kill_agent()
        batch(name, "ip", ["route add 203.0.113.77 dev lan table 400000"])
        flower = "flower src_ip 203.0.113.77 dst_ip 10.5.0.0/16 action skbedit mark 400001"
        batch(name, "tc", [f"filter add block 5222 protocol ip pref 10016 handle 305 {flower}"])
        strays = gateway.restart_agent([])
        return ([] if strays == 2 else [f"{strays} strays"]) + self.as_before(name)

    def step_gone(self) -> list[str]:
        """Everything of the session goes; the base and what is somebody else's is as it was."""
        here = [ALICE, self.at, self.generation]
        gone = [(name, self.submit(name, ALICE, delete=[here])) for name in (self.at, "ha31")]
        oks = [self.done(name, number) for name, number in gone]
        self.settle()
        return ([] if all(oks) else [f"done {oks}"]) + self.as_before(*AGENTS)

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
