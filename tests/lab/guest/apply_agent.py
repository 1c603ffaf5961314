"""An applier in a gateway's namespace, told what to do by lines of JSON: run inside the test kernel.

What a change is about is named, not sent: "alice at fa21, generation 1" is compiled here as signalling would.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roamvpn.agent.apply import Applier
from roamvpn.agent.user import Limits
from roamvpn.gateway import kernel, settings, units
from roamvpn.gateway.activation import Places
from roamvpn.gateway.charon import Charon, connection, shared
from roamvpn.gateway.vici import Vici
from roamvpn.policy.compile import Compiler, add
from roamvpn.policy.keys import derived
from roamvpn.render.artefacts import Renderer
from roamvpn.signalling.effects import Apply, Order, change
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import templates
from roamvpn.tables.gateway_state import GatewayState
from roamvpn.tables.records import Session
from roamvpn.tables.site import load_site

if TYPE_CHECKING:
    from roamvpn.agent.user import Outcome
    from roamvpn.policy.legs import Contribution

LIMITS = Limits(deadline=6.0, drain=0.2, retry_first=0.2, retry_last=1.0)


class Guest:
    """One gateway."""

    def __init__(self, site: Path, gateway: str, home: Path, order: str) -> None:
        made = load_site(read_site(site))
        assert made.secrets is not None
        self.gateway = gateway
        self.tables = made.tables
        key = made.secrets.site_key
        self.compiler = Compiler(made.tables, made.secrets, derived(key))
        self.renderer = Renderer(made.tables.network, templates(), key)
        self.home = home
        self.order = Order(order)
        self.die_after = 0
        self.applier: Applier | None = None

    # what a change is about

    def contributions(self, what: list[list[Any]]) -> tuple[Contribution, ...]:
        """`[nai, foreign agent, generation]` a session, with a fourth word, the old agent, its hand-off."""
        found: list[Contribution] = []
        for nai, agent, generation, *old in what:
            session = Session(
                session_id="s-" + nai.partition("@")[0], nai=nai, foreign_agent=agent, generation=generation
            )
            every = self.compiler.hand_off(session, old[0], agent) if old else self.compiler.session(session)[0]
            found += [each for each in every if each.gateway == self.gateway]
        return tuple(found)

    def state(self, what: list[list[Any]]) -> GatewayState:
        """What the node would hold: the base and these."""
        state = GatewayState(self.gateway)
        for contribution in self.compiler.provisioned():
            if contribution.gateway == self.gateway:
                add(state, contribution)
        for contribution in self.contributions(what):
            add(state, contribution)
        return state

    # orders

    def base(self) -> dict[str, object]:
        """What playbooks set: devices, queues, classifier, credentials, SLA peers."""
        state = self.state([])
        wanted = units.Wanted()
        for path, artefact in self.renderer.artefacts(state).items():
            text = self.renderer.text(state, artefact)
            if path in ("base/links.ip", "base/qos.tc"):
                lines = [line for line in text.splitlines() if line and not line.startswith("#")]
                wanted.devices += [units.Command(path[-2:], line) for line in lines]
            elif path == "base/sysctl.conf":
                rows = [line.partition("=") for line in text.splitlines() if "=" in line and line[0] != "#"]
                settings.apply({key.strip(): value.strip() for key, _equals, value in rows})
            elif path.startswith("base/") and artefact.unit is not None:
                units.parse(text, path, path.split("/")[1], wanted)
        kernel.batch([*wanted.devices, *wanted.legs])
        return self.base_charon()

    def base_charon(self) -> dict[str, object]:
        """What the gateway's program loads after a start of charon."""
        state = self.state([])
        wanted = units.Wanted()
        for path, artefact in self.renderer.artefacts(state).items():
            if path.startswith("base/") and artefact.unit is not None:
                units.parse(self.renderer.text(state, artefact), path, path.split("/")[1], wanted)
        places = Places(run=self.home, credentials=self.home / "swanctl", vici=str(self.home / "vici"))
        with Vici(places.vici) as vici:
            charon = Charon(vici, places.credentials, self.home / "loaded.json")
            charon.load_credentials()
            for name, tree in wanted.secrets.items():
                charon.load("load-shared", name, shared(name, tree))
            for name, tree in wanted.connections.items():
                charon.load("load-conn", name, connection(tree, places.credentials))
            charon.settle()
            for name in sorted(wanted.initiate & set(wanted.connections)):
                charon.initiate(name)
        return {}

    async def start(self, sessions: list[list[Any]]) -> dict[str, object]:
        """Start an applier from this state."""
        self.applier = Applier(
            self.gateway,
            self.tables.network,
            self.renderer,
            vici=str(self.home / "vici"),
            credentials=self.home / "swanctl",
            order=self.order,
            limits=LIMITS,
            alarm=lambda nai, what, reason: say({"alarm": [nai, what, reason]}),
            ended=self.ended,
            trace=self.trace,
        )
        strays = await self.applier.start(self.state(sessions))
        return {"strays": strays}

    def arm(self, steps: int) -> dict[str, object]:
        """Die after so many steps from now."""
        self.die_after = steps
        return {}

    def trace(self, nai: str, verb: str) -> None:
        """Pull the plug where that was asked for."""
        say({"step": [nai, verb]})
        self.die_after -= 1
        if self.die_after == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def ended(self, outcome: Outcome) -> None:
        """Where the time went, in milliseconds."""
        timing = outcome.timing
        parts = {
            name: round(1000 * getattr(timing, name), 1) for name in ("total", "engine", "charon", "ike", "kernel")
        }
        say({"timing": parts, "seq": outcome.seq, "ok": outcome.ok, "reason": outcome.reason})

    def submit(self, number: int, nai: str, **parts: Any) -> dict[str, object]:  # noqa: ANN401 - as JSON has them
        """A change; `loaded` and `done` are told later."""
        assert self.applier is not None
        kinds = ("set", "delete", "prepare", "prepared", "withdrawn")
        what = {kind: self.contributions(parts.get(kind, [])) for kind in kinds}
        # as signalling does: what stays is neither set nor deleted
        what["set"], what["delete"] = change(what["delete"], what["set"])
        effect = Apply(nai, number, **what, initiate=parts.get("initiate", False), wait=True)
        self.applier.submit(effect, lambda: say({"loaded": number}), lambda ok: say({"done": number, "ok": ok}))
        return {}

    async def reconcile(self, sessions: list[list[Any]]) -> dict[str, object]:
        """Once more, while it runs."""
        assert self.applier is not None
        before = self.applier.kernel.ip.runs + self.applier.kernel.tc.runs
        strays = await self.applier.reconcile(self.state(sessions))
        await self.applier.settled()
        return {"strays": strays, "runs": self.applier.kernel.ip.runs + self.applier.kernel.tc.runs - before}

    async def settled(self) -> dict[str, object]:
        """Everybody is where he shall be."""
        assert self.applier is not None
        await self.applier.settled()
        return {"digest": self.applier.digest}

    async def drift(self) -> dict[str, object]:
        """What is not as it shall be."""
        assert self.applier is not None
        return {"rows": await self.applier.drift()}

    def runs(self) -> dict[str, object]:
        """How many processes of ip and tc were started."""
        assert self.applier is not None
        return {"ip": self.applier.kernel.ip.runs, "tc": self.applier.kernel.tc.runs}

    def live(self) -> dict[str, object]:
        """All objects in our numbers and names, and what charon has."""
        with Vici(str(self.home / "vici")) as vici:
            conns = [name for event in vici.stream("list-conns", "list-conn") for name in event]
            sas = [name for event in vici.stream("list-sas", "list-sa") for name in event]
            keys = vici.request("get-shared").get("keys", [])
            secrets = [key.decode() for key in keys if isinstance(key, bytes)]
        return {
            "objects": kernel.live(),
            "connections": sorted(conns),
            "sas": sorted(sas),
            "secrets": sorted(secrets),
        }

    async def stop(self) -> dict[str, object]:
        """Stop the applier."""
        if self.applier is not None:
            await self.applier.close()
        return {}


def say(node: dict[str, object]) -> None:
    """One line to whoever runs this."""
    sys.stdout.write(json.dumps(node) + "\n")
    sys.stdout.flush()


async def main(site: str, gateway: str, home: str, order: str) -> None:
    """Obey until the input ends."""
    guest = Guest(Path(site), gateway, Path(home), order)
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say({"ready": gateway})
    while line := await reader.readline():
        order_, arguments = json.loads(line)
        answer = getattr(guest, order_)(**arguments)
        if asyncio.iscoroutine(answer):
            answer = await answer
        say({"answer": answer})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
