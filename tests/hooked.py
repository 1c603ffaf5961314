"""An agent's hook to talk to: events, a server in this loop or in a process that may be killed, its client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
from prometheus_client import CollectorRegistry, Counter

from roamvpn.agent.adapters import Here
from roamvpn.agent.events import identification
from roamvpn.agent.hook_server import app, serve
from roamvpn.agent.intake import Intake, Standing
from roamvpn.agent.spool import Spool
from roamvpn.agent.spool_file import Limits, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roamvpn.agent.events import Event

AGENT = "fa21"
NOW = 1_795_000_000
USERS = {"10.3.0.11": "alice@isp3.example", "10.3.0.12": "bob@isp3.example"}


def fields(number: int = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever an event may hold, or must not
    """Alice registers at this agent for the numberth time; None leaves a field out."""
    event = {
        "v": 1,
        "event_id": f"e-{number}",
        "type": "register",
        "agent": AGENT,
        "nai": "alice@isp3.example",
        "home_addr": "10.3.0.11",
        "access_gw": AGENT,
        "seq": identification(NOW, number),
        "observed_at": NOW,
        "lifetime_s": 600,
        "source": "manual",
        **changes,
    }
    return {name: value for name, value in event.items() if value is not None}


class Hook(NamedTuple):
    """A running hook."""

    path: Path
    spool: Spool
    intake: Intake
    received: Counter

    def counted(self) -> dict[tuple[str, str], int]:
        """Results by form, as they were counted."""
        return {
            (sample.labels["form"], sample.labels["result"]): int(sample.value)
            for metric in self.received.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    async def waiting(self) -> list[Event]:
        """What the spool holds, unconfirmed."""
        found = []
        if self.spool.held:
            async for spooled in self.spool.events():
                found.append(spooled.event)
                if len(found) == self.spool.held:
                    break
        return found


@asynccontextmanager
async def hook(directory: Path, now: float | None = NOW, limits: Limits = Limits()) -> AsyncIterator[Hook]:  # noqa: B008
    """A hook with its spool in `directory`; `now` None takes the clock."""
    clock = time.time if now is None else (lambda: now)
    received = Counter("events", "by form and result", ["form", "result"], registry=CollectorRegistry())
    async with Spool(directory / "spool.db", clock, limits) as spool:
        intake = Intake(spool, Here(AGENT, USERS.get), clock, standing=lambda: Standing(7, "a1b2"), received=received)
        path = directory / "run" / "hook.sock"
        runner = await serve(app(intake), path)
        try:
            yield Hook(path, spool, intake, received)
        finally:
            await runner.cleanup()


def client(path: Path, connections: int = 32) -> aiohttp.ClientSession:
    """HTTP over the socket."""
    return aiohttp.ClientSession("http://roamvpn", connector=aiohttp.UnixConnector(str(path), limit=connections))


async def post(session: aiohttp.ClientSession, body: object, form: str = "events") -> tuple[int, dict[str, Any]]:
    """One request: its status and reply."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with session.post(f"/v1/{form}", data=raw) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else {}


class _Struck(Spool):
    """Dies when an event is on disk and nobody has been told so."""

    async def offer(self, event: Event) -> Outcome:
        outcome = await super().offer(event)
        if event.event_id == "strike":
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome


async def _main(directory: Path) -> None:
    spool = _Struck(directory / "spool.db", lambda: NOW)
    runner = await serve(app(Intake(spool, Here(AGENT, USERS.get), lambda: NOW)), directory / "run" / "hook.sock")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
    await spool.close()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
