"""Compile, render and plan of whole fleets, and Ansible's stock `template` beside it.

    python -m benchmarks.bench_compile [--quick] [--no-ansible]

Each fleet is measured in a process of its own on one core, so that its memory is its own. Prints a table with what is
to be reached; exits 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.fleet import fleet
from roamvpn.engine import uncollected
from roamvpn.plan.compare import compare
from roamvpn.plan.sides import Nothing, RenderedSide
from roamvpn.policy.compile import compile_fleet
from roamvpn.policy.keys import derived
from roamvpn.render.artefacts import Renderer
from roamvpn.stores.templates import templates
from roamvpn.stores.tree import write_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_KEY = bytes(range(32))
_SIZES = (10, 100, 1000)
_HOSTS = 100
Figures = dict[str, float]


class _Deployed(Nothing):
    """What the manifests of a fleet say; reading a file of it would be a mistake."""

    def __init__(self, side: RenderedSide) -> None:
        self._sources = {name: dict(side.sources(name)) for name in side.gateways()}

    def gateways(self) -> Iterable[str]:
        return self._sources

    def sources(self, gateway: str) -> Mapping[str, str]:
        return self._sources[gateway]


def _timed(since: float) -> float:
    return time.perf_counter() - since


def measure(gateways: int) -> Figures:
    """All figures of one fleet, in seconds, MiB and counts."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    tables, sessions = fleet(gateways)
    with uncollected():
        start = time.perf_counter()
        compiled = compile_fleet(tables, sessions, None, derived(_KEY))
        compile_s = _timed(start)
        renderer = Renderer(tables.network, templates(), _KEY)
        side = RenderedSide(renderer, compiled)
        start = time.perf_counter()
        everything = compare(Nothing(), side)
        full_s = _timed(start)
        files = everything.summary.files
        legs = everything.summary.legs_added
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        deployed = _Deployed(side)
        del everything
        start = time.perf_counter()
        again = RenderedSide(renderer, compile_fleet(tables, sessions, None, derived(_KEY)))
        unchanged = compare(deployed, again)
        nothing_s = _timed(start)
        assert not unchanged.gateways
        # the fleet without its last user is what is deployed; he registers
        newcomer = sessions[-1]
        again.refresh(again.fleet.deregister(newcomer.nai))
        deployed = _Deployed(again)
        start = time.perf_counter()
        touched = again.fleet.register(newcomer)
        again.refresh(touched)
        added = compare(deployed, again, touched)
        added_s = _timed(start)
        assert added.summary.legs_added == sum(1 for plan in added.gateways for change in plan.changes if change.leg)
    return {
        "legs": legs,
        "files": files,
        "compile": compile_s,
        "full": full_s,
        "nothing": nothing_s,
        "added": added_s,
        "added_gateways": added.summary.gateways,
        "added_files": added.summary.files,
        "memory": memory,
    }


def measure_files() -> Figures:
    """Seconds for each file of a hundred gateways, rendered and written to disk, and a leg file to compare."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    tables, sessions = fleet(_HOSTS)
    with tempfile.TemporaryDirectory() as work, uncollected():
        side = RenderedSide(
            Renderer(tables.network, templates(), _KEY), compile_fleet(tables, sessions, None, derived(_KEY))
        )
        start = time.perf_counter()
        written = write_tree(Path(work) / "out", side, "benchmark")
        seconds = _timed(start)
    return {"files": written.rendered, "seconds": seconds}


def measure_ansible() -> Figures:
    """Seconds for each file that Ansible's template module writes: one leg file on each of a hundred local hosts."""
    tables, sessions = fleet(_HOSTS)
    side = RenderedSide(Renderer(tables.network, templates(), _KEY), compile_fleet(tables, sessions))
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        hosts = {}
        for name in sorted(side.gateways()):
            path = next(path for path in sorted(side.sources(name)) if "/legs/" in path)
            text = side.text(name, path) or ""
            leg = next(iter(side.fleet.states[name].legs))
            # the same file: what differs between legs comes from host variables, as a role would have it
            (work / f"{name}.j2").write_text(text.replace(leg, "{{ leg }}"))
            (work / f"{name}.expected").write_text(text)
            hosts[name] = {"ansible_connection": "local", "leg": leg}
        inventory = {"all": {"hosts": hosts, "vars": {"ansible_python_interpreter": sys.executable}}}
        (work / "hosts.json").write_text(json.dumps(inventory))
        task = {
            "ansible.builtin.template": {
                "src": f"{work}/{{{{ inventory_hostname }}}}.j2",
                "dest": f"{work}/{{{{ inventory_hostname }}}}.conf",
                "mode": "0644",
            }
        }
        play = [{"hosts": "all", "gather_facts": False, "tasks": [task]}]
        (work / "play.json").write_text(json.dumps(play))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-f", "10", "-i", str(work / "hosts.json")]
        start = time.perf_counter()
        subprocess.run([*command, str(work / "play.json")], check=True, stdout=subprocess.DEVNULL, cwd=work)
        seconds = _timed(start)
        for name in hosts:
            assert (work / f"{name}.conf").read_text() == (work / f"{name}.expected").read_text(), name
    return {"files": len(hosts), "seconds": seconds}


_MEASURES = {"files": measure_files, "ansible": measure_ansible}


def _apart(what: str) -> Figures:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_compile", "--measure", what]
    figures: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the fleet of 1,000 gateways")
    parser.add_argument("--no-ansible", action="store_true", help="leave out Ansible's template module (a minute)")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measured = _MEASURES[arguments.measure]() if arguments.measure in _MEASURES else measure(int(arguments.measure))
        print(json.dumps(measured))
        return
    console = Console(width=None if sys.stdout.isatty() else 130)
    sizes = _SIZES[:-1] if arguments.quick else _SIZES
    results = {size: _apart(str(size)) for size in sizes}
    table = Table(title="whole fleets, one core, seconds")
    for head in (
        "gateways",
        "legs",
        "files",
        "compile",
        "render+plan",
        "µs a leg",
        "nothing changed",
        "one user",
        "MiB",
    ):
        table.add_column(head, justify="right")
    for size, row in results.items():
        each = 1e6 * (row["compile"] + row["full"]) / row["legs"]
        table.add_row(
            f"{size:,}",
            f"{row['legs']:,.0f}",
            f"{row['files']:,.0f}",
            f"{row['compile']:.2f}",
            f"{row['full']:.2f}",
            f"{each:.0f}",
            f"{row['nothing']:.2f}",
            f"{1000 * row['added']:.1f} ms",
            f"{row['memory']:.0f}",
        )
    console.print(table)
    console.print(_goals(results, ansible=not arguments.no_ansible))


def _goals(results: dict[int, Figures], *, ansible: bool) -> Table:
    table = Table(title="what is to be reached")
    for head in ("figure", "goal", "measured", ""):
        table.add_column(head)

    def row(figure: str, goal: str, measured: str, *, reached: bool) -> None:
        table.add_row(figure, goal, measured, "reached" if reached else "MISSED")

    small, large = results[min(results)], results[max(results)]
    legs = f"{large['legs']:,.0f} legs"
    total = large["compile"] + large["full"]
    growth = (total / large["legs"]) / ((small["compile"] + small["full"]) / small["legs"])
    row(f"{legs}: compile, render, plan", "at most 30 s", f"{total:.1f} s", reached=total <= 30)
    row(f"{legs}: memory", "at most 2 GiB", f"{large['memory'] / 1024:.2f} GiB", reached=large["memory"] <= 2048)
    row(
        f"time a leg, against {small['legs']:,.0f} legs",
        "at most 1.2 times",
        f"{growth:.2f} times",
        reached=growth <= 1.2,
    )
    ratio = total / large["nothing"]
    row("nothing changed, compile included", "at least 5 times faster", f"{ratio:.1f} times", reached=ratio >= 5)
    where = f"{large['added_files']:.0f} files on {large['added_gateways']:.0f} gateways"
    row(f"one user added: {where}", "under 50 ms", f"{1000 * large['added']:.1f} ms", reached=large["added"] < 0.05)
    if ansible:
        ours, theirs = _apart("files"), _apart("ansible")
        each = [figures["seconds"] / figures["files"] for figures in (ours, theirs)]
        times = each[1] / each[0]
        measured = f"{times:,.0f} times ({1e3 * each[0]:.2f} and {1e3 * each[1]:.0f} ms a file)"
        row("a file, against Ansible's template", "at least 100 times faster", measured, reached=times >= 100)
    return table


if __name__ == "__main__":
    main()
