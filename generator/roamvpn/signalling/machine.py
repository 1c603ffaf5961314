"""What the five machines have in common: one entry per user, replaced as a whole; nothing else is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from roamvpn.signalling.correspondence import ANSWERS
from roamvpn.signalling.effects import Apply, Send, change
from roamvpn.signalling.messages import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roamvpn.policy.legs import Contribution, LegCompiler
    from roamvpn.signalling.correspondence import Case
    from roamvpn.signalling.directory import Directory
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.messages import Event, Message, NodeRole
    from roamvpn.signalling.settings import Settings

Entry = TypeVar("Entry", bound=NamedTuple)


# half the time of a named tuple's own constructor, where a move makes many
_new = tuple.__new__


class Surroundings(NamedTuple):
    """What every machine is given: where it runs, whom it knows, how patient it is."""

    name: str
    directory: Directory
    legs: LegCompiler
    settings: Settings


class Machine(Protocol, Generic[Entry]):
    """A role. Its entries are immutable; `handle` returns the next one, or None where nothing is left to know."""

    role: NodeRole
    durable: bool
    """Whether entries outlive a restart."""
    entry: type[Entry]
    """What its table holds."""
    by_profile: bool
    """Whether an entry is one VPN of a user, not all of him."""

    def handle(self, entry: Entry | None, event: Event, now: int) -> tuple[Entry | None, list[Effect]]:
        """One step: the entry after the event, and what is to be done, in that order. `now` in milliseconds."""

    def deadline(self, entry: Entry) -> int | None:
        """When the entry wants a `Timer`, if nothing comes before."""

    def restored(self, entry: Entry) -> Entry:
        """An entry read back from the store, with what follows from it."""

    def contributions(self, entry: Entry) -> tuple[Contribution, ...]:
        """What the entry has set at this gateway."""


def answer(role: NodeRole, received: type, case: Case, to: str, message: Message) -> Send:
    """The answer that the correspondence tables ask for; raises KeyError or TypeError where they do not."""
    sends, whom = ANSWERS[role, received, case]
    if sends is not type(message) or whom is None:
        raise TypeError(f"{role} answers {received.__name__} ({case}) with {sends}, not {type(message).__name__}")
    return _new(Send, (_new(Address, (whom, to)), message))


def applied(  # noqa: PLR0913 - the parts of an Apply
    nai: str,
    seq: int,
    before: tuple[Contribution, ...],
    after: tuple[Contribution, ...],
    prepared: Iterable[Contribution] = (),
    *,
    initiate: bool = False,
    wait: bool = False,
) -> Apply | None:
    """What leads from one set of contributions to another, or None where they are the same."""
    new, old = change(before, after)
    if not new and not old:
        return None
    ready = tuple([each for each in prepared if each in new])
    return _new(Apply, (nai, seq, new, old, (), ready, (), initiate, wait))
