"""What a change does: per gateway, the files added, changed and removed, and the legs behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from roamvpn.plan.sides import Side


class Action(StrEnum):
    """What happens to a file."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class FileChange(NamedTuple):
    """One file of one gateway. Texts are unmasked; None where there is none, or it cannot be had."""

    path: str
    action: Action
    before: str | None
    after: str | None

    @property
    def secret(self) -> bool:
        """Whether the file holds secrets."""
        return "/secrets/" in self.path

    @property
    def leg(self) -> bool:
        """Whether the file is a VPN leg."""
        return "/legs/" in self.path


class GatewayPlan(NamedTuple):
    """The changes of one gateway, by path."""

    gateway: str
    changes: tuple[FileChange, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a plan."""

    gateways: int
    legs_added: int
    legs_removed: int
    legs_replaced: int
    files: int
    secrets_replaced: int

    def __str__(self) -> str:
        """`3 gateways change: 2 legs added, 1 removed, 0 replaced`, and new secrets of what stays."""
        if not self.gateways:
            return "no changes"
        gateways = "1 gateway changes" if self.gateways == 1 else f"{self.gateways} gateways change"
        legs = "1 leg" if self.legs_added == 1 else f"{self.legs_added} legs"
        text = f"{gateways}: {legs} added, {self.legs_removed} removed, {self.legs_replaced} replaced"
        if self.secrets_replaced:
            text += f"; {self.secrets_replaced} secret{'s' if self.secrets_replaced > 1 else ''} replaced"
        return text


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, by gateway, and the digest of what is planned."""

    gateways: tuple[GatewayPlan, ...]
    digest: str

    @property
    def summary(self) -> Summary:
        """The counts."""
        changes = [change for gateway in self.gateways for change in gateway.changes]
        legs = [change.action for change in changes if change.leg]
        return Summary(
            gateways=len(self.gateways),
            legs_added=legs.count(Action.ADDED),
            legs_removed=legs.count(Action.REMOVED),
            legs_replaced=legs.count(Action.CHANGED),
            files=len(changes),
            secrets_replaced=sum(change.secret and change.action is Action.CHANGED for change in changes),
        )


def compare(
    before: Side,
    after: Side,
    gateways: Iterable[str] | None = None,
    progress: Callable[[str], None] | None = None,
    *,
    secrets: bool = True,
) -> Plan:
    """Compare two sides, on `gateways` or on all; calls `progress` with each gateway's name when it is done.

    Without `secrets` their files are left out, as where a side cannot have them.
    """
    names = sorted(set(before.gateways()) | set(after.gateways()) if gateways is None else gateways)
    plans = []
    whole = sha256()
    for name in names:
        plan = compare_gateway(name, before, after, secrets=secrets)
        if plan.changes:
            plans.append(plan)
        for path, source in sorted(after.sources(name).items()):
            whole.update(f"{name}/{path}={source}\n".encode())
        if progress is not None:
            progress(name)
    return Plan(tuple(plans), whole.hexdigest()[:32])


def compare_gateway(gateway: str, before: Side, after: Side, *, secrets: bool = True) -> GatewayPlan:
    """The changes of one gateway; reads and renders only files whose digests differ."""
    old, new = before.sources(gateway), after.sources(gateway)
    if old == new:
        return GatewayPlan(gateway, ())
    changes = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path) or ("/secrets/" in path and not secrets):
            continue
        was = before.text(gateway, path) if path in old else None
        becomes = after.text(gateway, path) if path in new else None
        if path in old and path in new and was is not None and was == becomes:
            continue  # made from something else, but the same bytes
        action = Action.ADDED if path not in old else Action.REMOVED if path not in new else Action.CHANGED
        changes.append(FileChange(path, action, was, becomes))
    return GatewayPlan(gateway, tuple(changes))
