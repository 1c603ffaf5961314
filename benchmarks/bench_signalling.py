"""Registrations a second through all five roles in one process on one core, and a restart from disk.

    python -m benchmarks.bench_signalling [--quick]

Each number of live sessions is measured in a process of its own: half of the users have a dynamic VPN (one segment,
a PCN), half a static one (two segments, under an SLA), own ESP all. The sample goes through each kind of registration
again and again, the median of the rounds counts. Timers ring between rounds, outside of the time; with them the figure
`kept` counts what it takes to encode and store the entries of all nodes, a transaction for each node and hundred
registrations. Nothing asks the kernel or the wire for anything. Prints tables; exits 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from sys import getsizeof
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.signalling_load import AAAH, Pump, agent, nai, tables
from roamvpn.engine import uncollected
from roamvpn.signalling.aaah import HomeEntry
from roamvpn.signalling.effects import Store
from roamvpn.signalling.messages import NodeRole
from roamvpn.stores.session_store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SIZES = (100, 10_000, 100_000)
_SAMPLE, _ROUNDS, _BATCH = 500, 7, 100
_SETTLED = 11
"""Seconds after which hand-off tunnels are gone."""
_KINDS = ("initial", "intra-domain", "inter-domain", "refresh")
Figures = dict[str, float]


def _alone() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class _Users:
    """A sample of users, and where each is."""

    def __init__(self, pump: Pump, users: Iterable[int]) -> None:
        self._pump = pump
        self._places = {user: (user, user // 4) for user in users}

    def __len__(self) -> int:
        """How many."""
        return len(self._places)

    def initial(self) -> None:
        """After a good-bye."""
        for user, place in self._places.items():
            self._pump.register(nai(user), agent(*place))

    def leave(self) -> None:
        """Good-bye."""
        for user, place in self._places.items():
            self._pump.register(nai(user), agent(*place), lifetime=0)

    def intra(self) -> None:
        """To the next agent of the domain, the old one named."""
        for user, (domain, index) in self._places.items():
            self._places[user] = domain, index + 1
            self._pump.register(nai(user), agent(domain, index + 1), agent(domain, index))

    def inter(self) -> None:
        """To the next domain, nobody named."""
        for user, (domain, index) in self._places.items():
            self._places[user] = domain + 1, index
            self._pump.register(nai(user), agent(domain + 1, index))

    def refresh(self) -> None:
        """Where they are."""
        for user, place in self._places.items():
            self._pump.register(nai(user), agent(*place))


def _nothing() -> None:
    return


class _Meter:
    """Times rounds of one kind; with `files` what nodes want kept is stored, and counts."""

    def __init__(self, pump: Pump, files: dict[str, SessionStore]) -> None:
        self._pump = pump
        self._files = files

    def measure(self, users: _Users, step: Callable[[], None], before: Callable[[], None]) -> tuple[float, float]:
        """(seconds, messages) of one registration: the median of the rounds."""
        pump, seconds, messages = self._pump, [], 0.0
        passes = max(1, _SAMPLE // len(users))
        for _ in range(_ROUNDS):
            spent = 0.0
            for _ in range(passes):
                before()
                pump.elapse(_SETTLED)
                self._drop()
                sent, start = pump.messages, time.perf_counter()
                step()
                self._keep(len(users))
                spent += time.perf_counter() - start
                messages = (pump.messages - sent) / len(users)
                pump.elapse(_SETTLED)
            seconds.append(spent / passes / len(users))
        return median(seconds), messages

    def _drop(self) -> None:
        for stores in (self._pump.stores or {}).values():
            stores.clear()

    def _keep(self, registrations: int) -> None:
        # in the order of registrations, so that as much is encoded as if each batch had been stored at once
        if self._pump.stores is None:
            return
        for name, stores in self._pump.stores.items():
            size = max(1, len(stores) * _BATCH // registrations)
            for start in range(0, len(stores), size):
                self._files[name].save(stores[start : start + size])


def _registrations(pump: Pump, files: dict[str, SessionStore], sessions: int) -> Figures:
    figures: Figures = {}
    meter = _Meter(pump, files)
    for parity, vpn in enumerate(("dynamic", "static")):
        users = _Users(pump, [user for user in range(1, sessions + 1) if user % 2 == parity][:_SAMPLE])
        plan = [
            ("refresh", users.refresh, _nothing),
            ("intra-domain", users.intra, _nothing),
            ("inter-domain", users.inter, _nothing),
            ("initial", users.initial, users.leave),
        ]
        for kind, step, before in plan:
            seconds, messages = meter.measure(users, step, before)
            figures[f"{vpn} {kind}"], figures[f"{vpn} {kind} messages"] = seconds, messages
    return figures


def measure(sessions: int) -> Figures:
    """All figures with so many live sessions."""
    _alone()
    with uncollected(), tempfile.TemporaryDirectory() as work:
        pump = Pump(*tables(sessions))
        for user in range(1, sessions + 1):
            pump.register(nai(user), agent(user, user // 4))
        pump.elapse(_SETTLED)
        figures = _registrations(pump, {}, sessions)
        table = pump.nodes[AAAH].tables[NodeRole.AAAH]
        assert len(table) == sessions
        figures["memory"] = _size(table) / sessions
        files = {name: SessionStore(Path(work) / name / "sessions.db") for name in pump.nodes}
        pump.stores = {name: [] for name in files}
        kept = _registrations(pump, files, sessions)
        for file in files.values():
            file.close()
        return figures | {f"kept {name}": value for name, value in kept.items()}


def _size(table: object) -> int:
    """Bytes of all that a table reaches, each object once; with what it shares with other tables, so rather much."""
    seen: set[int] = set()
    total, left = 0, [table]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        total += getsizeof(each)
        if isinstance(each, dict):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, tuple):
            left += each
    return total


def fill(path: Path, sessions: int) -> Figures:
    """Write the AAAH's sessions to disk."""
    _alone()
    with uncollected():
        pump = Pump(*tables(sessions))
        for user in range(1, sessions + 1):
            pump.register(nai(user), agent(user, user // 4))
        table = pump.nodes[AAAH].tables[NodeRole.AAAH]
        rows = [Store(NodeRole.AAAH, key, entry) for key, entry in table.items()]
        start = time.perf_counter()
        with SessionStore(path) as store:
            for first in range(0, len(rows), _BATCH):
                store.save(rows[first : first + _BATCH])
        return {"seconds": time.perf_counter() - start, "bytes": path.stat().st_size}


def restart(path: Path) -> Figures:
    """A fresh AAAH reads them back."""
    _alone()
    node = Pump(*tables(1)).nodes[AAAH]
    with uncollected():
        start = time.perf_counter()
        with SessionStore(path) as store:
            effects = node.restore(NodeRole.AAAH, store.load(NodeRole.AAAH, HomeEntry))
        seconds = time.perf_counter() - start
    table = node.tables[NodeRole.AAAH]
    assert len(effects) == len(table)
    return {"seconds": seconds, "sessions": len(table), "memory": _size(table) / len(table)}


def _apart(*what: str) -> Figures:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_signalling", "--measure", *what]
    figures: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out 100,000 sessions")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, *rest = arguments.measure
        steps = {
            "fill": lambda: fill(Path(rest[0]), int(rest[1])),
            "restart": lambda: restart(Path(rest[0])),
            "sessions": lambda: measure(int(rest[0])),
        }
        print(json.dumps(steps[what]()))
        return
    console = Console(width=None if sys.stdout.isatty() else 130)
    sizes = _SIZES[:-1] if arguments.quick else _SIZES
    results = {size: _apart("sessions", str(size)) for size in sizes}
    console.print(_rates(results))
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "sessions.db"
        saved = _apart("fill", str(path), str(sizes[-1]))
        console.print(_goals(results, saved, _apart("restart", str(path))))


def _rates(results: dict[int, Figures]) -> Table:
    table = Table(title="registrations a second, one process, one core (in brackets with every entry kept on disk)")
    for head in ("VPN", "registration", "messages", *(f"{size:,} sessions" for size in results)):
        table.add_column(head, justify="left" if head in ("VPN", "registration") else "right")
    last = max(results)
    for vpn in ("dynamic", "static"):
        for kind in _KINDS:
            name = f"{vpn} {kind}"
            rates = [f"{1 / row[name]:,.0f} ({1 / row[f'kept {name}']:,.0f})" for row in results.values()]
            table.add_row(vpn, kind, f"{results[last][f'{name} messages']:.0f}", *rates)
    return table


def _goals(results: dict[int, Figures], saved: Figures, restarted: Figures) -> Table:
    table = Table(title="what is to be reached")
    for head in ("figure", "goal", "measured", ""):
        table.add_column(head)

    def row(figure: str, goal: str, measured: str, *, reached: bool) -> None:
        table.add_row(figure, goal, measured, "reached" if reached else "MISSED")

    small, large = min(results), max(results)
    for vpn in ("dynamic", "static"):
        rate = 1 / results[large][f"{vpn} intra-domain"]
        row(f"{large:,} sessions, {vpn}: moves", "at least 5,000/s", f"{rate:,.0f}/s", reached=rate >= 5000)
        for kind in ("intra-domain", "inter-domain"):
            growth = results[large][f"{vpn} {kind}"] / results[small][f"{vpn} {kind}"]
            what = f"{vpn}, {kind}: time of a move, against {small} sessions"
            row(what, "at most 1.3 times", f"{growth:.2f} times", reached=growth <= 1.3)
    for what, memory in (("", results[large]["memory"]), (", after a restart", restarted["memory"])):
        row(f"memory of a session at the AAAH{what}", "under 4 KiB", f"{memory / 1024:.2f} KiB", reached=memory < 4096)
    measured = f"{restarted['seconds']:.2f} s (saved in {saved['seconds']:.2f} s, {saved['bytes'] / 2**20:.0f} MiB)"
    what = f"{restarted['sessions']:,.0f} sessions, AAAH back from disk"
    row(what, "under 3 s", measured, reached=restarted["seconds"] < 3)
    return table


if __name__ == "__main__":
    main()
