"""`roamvpn simulate`: the embodiments, a storm, a team's own script, and histories with faults."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roamvpn.console import Console
from roamvpn.engine import checked_site
from roamvpn.plan.graph import fleet_graph
from roamvpn.plan.graph_svg import svg
from roamvpn.signalling.effects import Order
from roamvpn.sim import chaos
from roamvpn.sim.embodiments import EMBODIMENTS, Played, play
from roamvpn.sim.history import draw
from roamvpn.sim.script import Rehearsal, load_script, rehearse
from roamvpn.sim.shrink import report, shrink
from roamvpn.sim.storm import storm
from roamvpn.stores.site_directory import find_site, read_site
from roamvpn.stores.templates import example_site
from roamvpn.stores.tree import write_file
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.site import load_site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roamvpn.policy.compile import Fleet
    from roamvpn.sim.history import History

_DIRECTORY = click.Path(path_type=Path)
_WHAT = [*EMBODIMENTS, "storm", "faults"]
_BATCH = 20
"""Histories between two steps of the progress bar."""


@click.command()
@click.argument("what", required=False, type=click.Choice(_WHAT, case_sensitive=False))
@click.option(
    "--order",
    type=click.Choice([str(order) for order in Order]),
    default=str(Order.MAKE_BEFORE_BREAK),
    show_default=True,
    help="In which order tunnels change.",
)
@click.option("--out", "-o", type=_DIRECTORY, metavar="DIR", help="Write pictures, sequence diagram and JSON here.")
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print the sequence diagram, in Mermaid.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.option("--policy", type=_DIRECTORY, metavar="SITE", help="The site that a --script is about.")
@click.option("--script", type=_DIRECTORY, metavar="FILE", help="Play these moves: see `roamvpn schema moves`.")
@click.option("--users", type=click.IntRange(1, 200_000), default=5000, show_default=True, help="Of a storm.")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=5.0, show_default=True, help="Of a storm.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Where a storm or faults begin.")
@click.option("--registrations", type=click.IntRange(1), default=20_000, show_default=True, help="Of faults, at least.")
def simulate(  # noqa: PLR0913, PLR0917 - one parameter an option
    what: str | None,
    order: str,
    out: Path | None,
    policy: Path | None,
    script: Path | None,
    users: int,
    seconds: float,
    seed: int,
    registrations: int,
    *,
    as_mermaid: bool,
    as_json: bool,
) -> None:
    """Play registrations through all five roles, in one process; touches nothing.

    \b
      E1 … E7   an embodiment on the example network: every message, every gateway's change
      storm     a train enters a station: latencies, queues, the work of each node
      faults    drawn histories with loss, partitions and crashes, checked against the compile
      --policy SITE --script FILE
                your own network and your own moves, before a change window

    Gateways' changes are small diffs in the order in which they are made: `+ decode` takes packets of the
    opposite direction, `+ ds` marks, `+ tunnel` sends, `- tunnel` is gone. Exits 1 if in the end a node does
    not hold what the compile of tables and sessions says.
    """
    console, chosen = Console(), Order(order)
    if (what is None) is (script is None):
        raise RoamvpnError("name an embodiment, storm or faults; or give --policy and --script")
    if script is not None:
        found = _rehearsed(policy, script, chosen)
        _show_rehearsal(console, found, out, as_json=as_json, as_mermaid=as_mermaid)
    elif what == "storm":
        _storm(console, users, seconds, seed, as_json=as_json)
    elif what == "faults":
        _faults(console, seed, registrations, as_json=as_json)
    elif what is not None:
        tables = load_site(read_site(example_site(), with_secrets=False)).tables
        _show_played(console, play(tables, what, chosen), out, as_json=as_json, as_mermaid=as_mermaid)


# embodiments


def _show_played(console: Console, played: Played, out: Path | None, *, as_json: bool, as_mermaid: bool) -> None:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, fleet in (("before", played.before), ("after", played.after)):
            write_file(out / f"{name}.svg", _picture(fleet))
        write_file(out / "sequence.mmd", played.trace.mermaid())
        write_file(out / "trace.json", json.dumps(played_json(played), indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(played_json(played), indent=1))
    elif as_mermaid:
        click.echo(played.trace.mermaid(), nl=False)
    else:
        console.summary(title(played))
        console.lines(narration(played))
        _verdict(console, played.differences)
        if out is not None:
            console.note(f"{out}: before.svg, after.svg, sequence.mmd, trace.json")
    sys.exit(1 if played.differences else 0)


def title(played: Played) -> str:
    """`E5: move within a domain, dynamic gateway (PCN) (Fig 28), make-before-break`."""
    about = played.embodiment
    return f"{played.name}: {about.title} ({about.figure}), {played.order}"


def narration(played: Played) -> Iterable[str]:
    """The embodiment as text: tunnels before, what happens, tunnels after."""
    yield f"before: {_tunnels(played.before)}"
    yield from played.trace.text()
    yield f"after:  {_tunnels(played.after)}"


def played_json(played: Played) -> dict[str, object]:
    """The embodiment as plain data."""
    return {
        "embodiment": played.name,
        "title": played.embodiment.title,
        "figure": played.embodiment.figure,
        "order": str(played.order),
        "before": _tunnels(played.before).split(", "),
        "trace": played.trace.as_json(),
        "after": _tunnels(played.after).split(", "),
        "differences": played.differences,
    }


def _tunnels(fleet: Fleet) -> str:
    """Who sends into a tunnel to whom for registered users, as F9 writes it."""
    found = sorted(
        f"{leg.gateway}→{leg.peer}{' (hand-off)' if leg.hand_off else ''}"
        for state in fleet.states.values()
        for leg in state.legs.values()
        if leg.handle is not None and leg.owner == "session"
    )
    return ", ".join(found) or "no tunnels"


def _picture(fleet: Fleet) -> str:
    return svg(fleet_graph(fleet.compiler.tables.network, fleet))


# scripts


def _rehearsed(policy: Path | None, script: Path, order: Order) -> Rehearsal:
    site = checked_site(find_site(policy))
    if not script.is_file():
        raise RoamvpnError(f"{script}: no such file")
    moves = load_script(str(script), script.read_text(encoding="utf-8", errors="replace"), site.tables)
    at = {session.nai: session.foreign_agent for session in site.sessions}
    return rehearse(site.tables, moves, at, order, site.secrets)


def _show_rehearsal(console: Console, found: Rehearsal, out: Path | None, *, as_json: bool, as_mermaid: bool) -> None:
    data = {
        "answers": [row._asdict() for row in found.answers],
        "alarms": [{"at": at, "node": node, "text": text} for at, node, text in found.alarms],
        "trace": found.trace.as_json(),
        "differences": found.differences,
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / "sequence.mmd", found.trace.mermaid())
        write_file(out / "trace.json", json.dumps(data, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(data, indent=1))
    elif as_mermaid:
        click.echo(found.trace.mermaid(), nl=False)
    else:
        console.lines(found.trace.text())
        rows = [
            (
                f"{row.at / 1000:g} s",
                row.text,
                f"{row.waited:.0f} ms" if row.waited is not None else "-",
                str(row.attempts) if row.waited is not None else "-",
                ", ".join(row.gateways),
            )
            for row in found.answers
        ]
        console.table("moves", ("at", "what", "answered after", "asked", "gateways changed"), rows)
        alarms = [(f"{at / 1000:g} s", node, text) for at, node, text in found.alarms]
        console.table("alarms", ("at", "node", "what"), alarms)
        _verdict(console, found.differences)
    sys.exit(1 if found.differences else 0)


# storms and faults


def _storm(console: Console, users: int, seconds: float, seed: int, *, as_json: bool) -> None:
    with console.progress("users served", users) as step:
        found = storm(users, seconds, seed, progress=step)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=1))
    else:
        console.lines(found.sentences())
        console.table(*found.table())
        _verdict(console, list(found.differences))
    sys.exit(1 if found.differences or found.served < users else 0)


def _faults(console: Console, seed: int, registrations: int, *, as_json: bool) -> None:
    done = histories = messages = 0
    with console.progress("registrations", registrations) as step:
        while done < registrations:
            history = draw(seed + histories)
            outcome = chaos.run(history)
            histories += 1
            done += outcome.registrations
            messages += outcome.messages
            for _ in range(outcome.registrations):
                step("")
            if outcome.differences:
                _fail(console, history, as_json=as_json)
    counted = {"seed": seed, "histories": histories, "registrations": done, "messages": messages}
    if as_json:
        click.echo(json.dumps({**counted, "differences": []}, indent=1))
        return
    console.good(
        f"{histories} histories from seed {seed}, {done} registrations, {messages} messages: "
        "every node holds what the compile says"
    )


def _fail(console: Console, history: History, *, as_json: bool) -> None:
    console.note(f"seed {history.seed} fails; looking for a shorter history that does")
    shorter = shrink(history)
    outcome = chaos.run(shorter)
    if as_json:
        found = {"seed": history.seed, "history": report(shorter, outcome), "differences": outcome.differences}
        click.echo(json.dumps(found, indent=1))
    else:
        console.lines(report(shorter, outcome).splitlines())
        console.error(f"repeat it with: roamvpn simulate faults --seed {history.seed} --registrations 1")
    sys.exit(1)


def _verdict(console: Console, differences: list[str]) -> None:
    if differences:
        for each in differences:
            console.error(each)
        return
    console.good("every node holds what the compile of tables and sessions says")
