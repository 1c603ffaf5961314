"""What a state machine asks of the world: messages, tables to store, gateway state, timers; and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.types import Word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.messages import Address, Message, NodeRole


class Order(Word):
    """In which order tunnels change."""

    MAKE_BEFORE_BREAK = "make-before-break"
    """The new path carries traffic before the old one goes (G23)."""
    PATENT = "patent"
    """As the patent text has it: the old rows go first, decode comes last."""


class Send(NamedTuple):
    """A message to another role."""

    to: Address
    message: Message


class Apply(NamedTuple):
    """Gateway state to change: what is set, what is deleted, and what only gets its inbound half for now.

    `prepared` are those of `set` whose inbound half stands already; `withdrawn` were prepared in vain. `initiate`: both
    ends are loaded, so this gateway brings the new associations up. `wait`: the machine goes on with `Applied`.
    """

    nai: str
    seq: int
    set: tuple[Contribution, ...] = ()
    delete: tuple[Contribution, ...] = ()
    prepare: tuple[Contribution, ...] = ()
    prepared: tuple[Contribution, ...] = ()
    withdrawn: tuple[Contribution, ...] = ()
    initiate: bool = False
    wait: bool = False


class Search(NamedTuple):
    """Look up the VPN database by NAI (S105)."""

    nai: str
    seq: int


class Alarm(NamedTuple):
    """Something an operator must hear of, in one sentence."""

    nai: str
    text: str


class Store(NamedTuple):
    """A table entry to keep over a restart before anything is sent; None removes it."""

    role: NodeRole
    key: str
    entry: tuple[object, ...] | None


class Wake(NamedTuple):
    """A timer: hand `Timer(key)` to the role at `at`."""

    role: NodeRole
    key: str
    at: int


Effect = Send | Apply | Search | Alarm | Store | Wake


class Do(Word):
    """What is done to a tunnel's half."""

    DS = "ds"
    TUNNEL = "tunnel"
    DECODE = "decode"
    DELETE = "delete"
    UNMARK = "unmark"


class Step(NamedTuple):
    """One step at a gateway."""

    do: Do
    contribution: Contribution


def steps(apply: Apply, order: Order) -> Iterator[Step]:
    """The steps of a change. DS comes before tunnels in both orders (D14, F5).

    Make before break: the inbound half, then, when the association is up, marking and tunnel, which switch the packets,
    then the old rows; a marking whose successor has the same handle is replaced, not deleted. The patent's order:
    the old rows go first (S223, S226) and decode comes last.
    """
    decode = [Step(Do.DECODE, each) for each in (*apply.prepare, *apply.set) if each not in apply.prepared]
    sending = [each for each in apply.set if each.leg is not None and each.leg.handle is not None]
    marking = [Step(Do.DS, each) for each in sending if each.leg is not None and each.leg.dscp is not None]
    tunnels = [Step(Do.TUNNEL, each) for each in sending]
    replaced = set() if order is Order.PATENT else {each.leg.handle for each in sending if each.leg is not None}
    delete = []
    for each in (*apply.withdrawn, *apply.delete):
        leg = each.leg
        if each not in apply.withdrawn and leg is not None and leg.dscp is not None and leg.handle is not None:
            delete += [Step(Do.UNMARK, each)] if leg.handle not in replaced else []
        delete.append(Step(Do.DELETE, each))
    if order is Order.PATENT:
        yield from (*delete, *marking, *tunnels, *decode)
    else:
        yield from (*decode, *marking, *tunnels, *delete)


def change(
    before: tuple[Contribution, ...], after: tuple[Contribution, ...]
) -> tuple[tuple[Contribution, ...], tuple[Contribution, ...]]:
    """What is to be set and what deleted, by the previous instance (G16), to come from `before` to `after`."""
    if before is after:
        return (), ()
    if not before or not after:
        return after, before
    # two VPNs may lean on one peer in just the same way, so equal contributions are counted
    old, new = list(before), []
    for contribution in after:
        if contribution in old:
            old.remove(contribution)
        else:
            new.append(contribution)
    return tuple(new), tuple(old)
