"""What a run changes: the whole fleet compiled once, compared with what gateways have, and staged."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from roamvpn import __version__
from roamvpn.engine import compiled, uncollected
from roamvpn.plan.compare import compare
from roamvpn.plan.report import diff_text, report
from roamvpn.provision import rotation
from roamvpn.provision.state import Record
from roamvpn.stores.program import program_digest
from roamvpn.stores.tree import DirectorySide, write_gateway, write_secret
from roamvpn.tables.checks import SECRETS
from roamvpn.tables.gateway_state import BASE
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.engine import Engine
    from roamvpn.plan.report import PlanReport
    from roamvpn.plan.sides import RenderedSide
    from roamvpn.provision.authority import Authority
    from roamvpn.provision.control import Control
    from roamvpn.provision.state import State
    from roamvpn.tables.gateway_state import Unit
    from roamvpn.tables.site import Site


@dataclass(frozen=True, slots=True)
class Request:
    """What a run is asked for.

    `gateways` are those of the play, `all` names each of them whether it changes or not; `phase` is that of a key
    rotation; `digest` must be the plan's, where it is given.
    """

    gateways: tuple[str, ...]
    everything: bool = False
    digest: str = ""
    phase: rotation.Phase = rotation.Phase.NONE


@dataclass(slots=True)
class FleetPlan:
    """What changes and why, by gateway in the order of the network's names."""

    report: PlanReport
    reasons: dict[str, list[str]] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    """Gateways without any configuration."""
    again: list[str] = field(default_factory=list)
    """Gateways that set up associations at last: what waits since an earlier run, or leads to a new gateway."""

    @property
    def diff(self) -> str:
        """What changes, file by file, with secrets masked."""
        return diff_text(self.report)

    @property
    def lines(self) -> list[str]:
        """For people: the summary, then a line for each gateway."""
        width = max(map(len, self.reasons), default=0)
        listed = [f"{name:<{width}}  {', '.join(reasons)}" for name, reasons in self.reasons.items()]
        late = [f"{name} sets up what waited for other gateways" for name in self.again]
        if not self.reasons:
            return [*self.report.warnings, "no changes", *late]
        text = self.report.summary.text
        if not self.report.changed:
            text = f"{len(self.reasons)} gateways, no configuration changes"
        return [*self.report.warnings, text, *listed, *late, f"plan digest {self.report.digest}"]

    def result(self) -> dict[str, object]:
        """For Ansible: a mapping of plain values."""
        return {
            "digest": self.report.digest,
            "gateways": list(self.reasons),
            "reasons": self.reasons,
            "new": self.new,
            "again": self.again,
            "summary": self.report.summary.text,
            "lines": self.lines,
        }


@cache
def base_digest() -> str:
    """Names what the role `base` brings: it is brought again when this changes."""
    return sha256(f"{__version__} {program_digest()}".encode()).hexdigest()[:16]


def plan_fleet(control: Control, request: Request) -> FleetPlan:
    """Compile, compare and explain; changes nothing.

    Raises:
        RoamvpnError: where the site lacks its secrets, a rotation is under way, or the digest is another one.
    """
    return _planned(control, request)[0]


def stage_fleet(control: Control, request: Request) -> FleetPlan:
    """As `plan_fleet`, and write what the changing gateways get to `staged/`."""
    plan, side, before = _planned(control, request)
    state = control.state
    shutil.rmtree(state.staged, ignore_errors=True)
    state.prepare()
    for name in plan.reasons:
        write_gateway(state.staged / name, state.deployed / name, side, name, before)
    for entry in plan.report.gateways:
        shown = plan.report.model_copy(update={"gateways": [entry]})
        write_secret(state.staged / f"{entry.gateway}.diff", diff_text(shown))
    return plan


def _planned(control: Control, request: Request) -> tuple[FleetPlan, RenderedSide, DirectorySide]:
    site, state = control.site, control.state
    if site.secrets is None:
        raise RoamvpnError(f"no {SECRETS}: `roamvpn secrets` generates the keys that gateways need")
    with uncollected():
        engine = compiled(site)
        side = rotation.side(control, engine, request.phase)
        before = DirectorySide(state.deployed, engine.fingerprint_key)
        change = compare(before, side, request.gateways)
    found = report(
        change,
        site=site.tables.network.site,
        against="the gateways",
        warnings=[*engine.warnings, *_strays(site, state)],
        mask_key=engine.fingerprint_key,
    )
    if request.digest and request.digest != found.digest:
        raise RoamvpnError(
            f"the plan is {found.digest}, asked for was {request.digest}: tables or secrets have changed since; "
            f"review it again\n{diff_text(found)}{found.summary.text}"
        )
    plan = FleetPlan(found)
    changing = {entry.gateway for entry in found.gateways}
    authority = control.authority
    crl = authority.crl_digest
    records = {name: state.record(name) for name in request.gateways}
    for name in request.gateways:
        reasons = list(_reasons(control, authority, crl, name, records[name]))
        if name in changing or (records[name] or Record()).generation is None:
            reasons.append("configuration")
        if request.everything:
            reasons.append("asked for")
        if reasons:
            plan.reasons[name] = reasons
    plan.new = [name for name, record in records.items() if record is not None and record.generation is None]
    waiting = {name for name, record in records.items() if record is not None and record.waiting}
    plan.again = sorted(waiting | _towards(engine, set(plan.new), set(request.gateways) - set(plan.new)))
    return plan, side, before


def _reasons(
    control: Control, authority: Authority, crl: str | None, name: str, record: Record | None
) -> Iterator[str]:
    """What a gateway lacks beside its configuration."""
    if record is None:
        raise RoamvpnError(f"{name}: it is not known what it runs; was it reached?")
    if record.base != base_digest():
        yield "base"
    issued = authority.index.issued.get(name)
    if issued is None or issued.serial != record.serial or authority.lacks(name, control.identities(name), control.now):
        yield "certificate"
    elif record.crl != crl:
        yield "revocation list"


def _strays(site: Site, state: State) -> list[str]:
    gone = [name for name in state.known() if name not in site.tables.network.gateways]
    return [f"{name}: has configuration of ours and left network.yml; put it back and decommission it" for name in gone]


def _towards(engine: Engine, new: set[str], others: set[str]) -> set[str]:
    """Gateways of `others` that initiate associations to a new one."""
    addresses = {engine.site.tables.gateway(name).address for name in new}
    states = {name: engine.fleet.states[name] for name in others if name in engine.fleet.states}
    found = set()
    for name, state in states.items():
        agent = engine.site.tables.gateway(name).agent
        every: list[Unit] = [*state.peers.values(), *state.legs.values()]
        units = [unit for unit in every if unit.owner == BASE or not agent]
        if any(unit.initiate and unit.peer_address in addresses for unit in units):
            found.add(name)
    return found
