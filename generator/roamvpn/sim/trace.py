"""What happened in a simulated network, for people and for machines: text, JSON, and a sequence diagram.

The text has one line for each message, numbered, and below it what the receiver then changes at its gateway, as a small
diff: `+` is set, `-` is deleted, in the order in which it is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from roamvpn.signalling.effects import Alarm, Apply, Do, Search, Send, steps
from roamvpn.signalling.messages import NAMES, Ama, Amr, Ba, Bu, Code, Haa, Har, NodeRole, RegRep, RegReq, Result
from roamvpn.tables.types import Security, Share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.effects import Step
    from roamvpn.signalling.messages import Address, Message
    from roamvpn.sim.world import Seen, World

StepKey = tuple[str, NodeRole, NodeRole]


class Line(NamedTuple):
    """One thing that happened. `number` counts messages; `step` is the embodiment's (`E2.3`), where there is one.

    `kind` is message, change, search or alarm; `at` in milliseconds.
    """

    at: float
    step: str
    number: int | None
    kind: str
    who: str
    to: str
    text: str
    user: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {name: value for name, value in self._asdict().items() if value not in (None, "")}


@dataclass
class Trace:
    """Watches a world. `numbered` gives messages, by name and roles, the step of an embodiment."""

    world: World
    numbered: Mapping[StepKey, str] = field(default_factory=dict)
    started: int = 0
    lines: list[Line] = field(default_factory=list)
    on: bool = True
    users: set[str] | None = None
    """Whose events are noted; None is everybody."""
    _count: int = 0
    _reached: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start to watch."""
        self.started = self.world.now
        self.world.watchers.append(self._see)

    def restart(self) -> None:
        """Forget what was seen so far."""
        self.lines.clear()
        self.started, self._count = self.world.now, 0
        self._reached.clear()

    def renumber(self) -> None:
        """Count the messages again, after some were left out."""
        number = 0
        for index, line in enumerate(self.lines):
            if line.number is not None:
                number += 1
                self.lines[index] = line._replace(number=number)

    def _see(self, seen: Seen) -> None:
        what, who = seen.what, seen.node.name
        nai = what.message.nai if isinstance(what, Send) else getattr(what, "nai", None)
        if not self.on or (self.users is not None and nai not in self.users):
            return
        at = (seen.at - self.started) / 1000
        if isinstance(what, Send):
            self._count += 1
            name = NAMES[type(what.message)]
            step = self.numbered.get((name, seen.node.role, what.to.role), "")
            # what a node does next, it does because of this
            self._reached[what.to.name] = step
            to = _addressee(what.to, what.message)
            details = details_of(what.message)
            self.lines.append(Line(at, step, self._count, "message", who, to, f"{name}\t{details}", nai or ""))
            return
        step = self._reached.get(who, "")
        if isinstance(what, Apply):
            for each in steps(what, self.world.settings.order):
                self.lines.append(Line(at, step, None, "change", who, "", change_of(each), what.nai))
        elif isinstance(what, Search):
            self.lines.append(Line(at, step, None, "search", who, "", f"VPN database: {what.nai}", what.nai))
        elif isinstance(what, Alarm):
            self.lines.append(Line(at, step, None, "alarm", who, "", what.text, what.nai))

    def text(self) -> Iterator[str]:
        """Lines to read, in columns."""
        before: tuple[str, str] | None = None
        step = ""
        for line in self.lines:
            label = line.step if line.step != step else ""
            step = line.step or step
            if line.kind == "message":
                name, _, details = line.text.partition("\t")
                ends = f"{_short(line.who)} → {_short(line.to)}"
                yield f"{label:6}{line.at:8.1f} ms {line.number:4}  {name:8} {ends:28} {details}".rstrip()
                before = None
            elif line.kind == "change":
                if before != (line.who, "change"):
                    yield f"{label:6}{'':18}{line.who}"
                yield f"{'':24}  {line.text}"
                before = (line.who, "change")
            else:
                mark = "alarm: " if line.kind == "alarm" else "looks up the "
                yield f"{label:6}{'':18}{line.who} {mark}{line.text}"
                before = None

    def mermaid(self) -> str:
        """A sequence diagram: participants by role, messages, and what each gateway changes as notes."""
        names: dict[str, str] = {}
        body: list[str] = []
        notes: list[str] = []
        for index, line in enumerate(self.lines):
            who = names.setdefault(line.who, f"p{len(names)}")
            if line.kind == "message":
                via = line.to.partition(" for ")[0]
                to = names.setdefault(via, f"p{len(names)}")
                body.append(f"  {who}->>{to}: {_plain(line.text.partition(chr(9))[0])}")
                continue
            notes.append(_plain(line.text))
            after = self.lines[index + 1] if index + 1 < len(self.lines) else None
            if after is None or after.kind == "message" or after.who != line.who:
                body.append(f"  Note over {who}: {'<br/>'.join(notes)}")
                notes = []
        heads = [f"  participant {short} as {_plain(_short(name))}" for name, short in names.items()]
        return "\n".join(["sequenceDiagram", "  autonumber", *heads, *body]) + "\n"

    def as_json(self) -> list[dict[str, Any]]:
        """The lines as plain data."""
        found = []
        for line in self.lines:
            row = line.as_json()
            if line.kind == "message":
                name, _, details = line.text.partition("\t")
                row |= {"message": name, "text": details}
            found.append(row)
        return found


_SIGNS = {Do.DS: "+ ds    ", Do.TUNNEL: "+ tunnel", Do.DECODE: "+ decode", Do.DELETE: "- tunnel", Do.UNMARK: "- ds    "}


def change_of(step: Step) -> str:
    """`+ tunnel ha31→fa21b  own esp, rv-own1`: one step at a gateway."""
    leg, peer = step.contribution.leg, step.contribution.peer
    sign = _SIGNS[step.do]
    if leg is None:
        ends = f"{peer.peer}→{peer.gateway}" if peer is not None else ""
        return f"{sign} {ends}  {_peer_kind(step.contribution)}"
    if step.do in (Do.DS, Do.UNMARK):
        return f"{sign} {leg.source}→{leg.destination}  {leg.service_class}"
    if step.do is Do.DECODE:
        return f"{sign} {leg.peer}→{leg.gateway}  {kind_of(step.contribution)}"
    return f"{sign} {leg.gateway}→{leg.peer}  {kind_of(step.contribution)}"


def kind_of(contribution: Contribution) -> str:
    """`own esp, rv-own1`; a hand-off says so."""
    leg = contribution.leg
    if leg is None:
        return _peer_kind(contribution)
    how = "encapsulation only" if leg.security is Security.ENCAPSULATION else f"{leg.share} {leg.security}"
    return f"{'hand-off, ' if leg.hand_off else ''}{how}, {leg.device}"


def _peer_kind(contribution: Contribution) -> str:
    peer = contribution.peer
    if peer is None:
        return ""
    how = "encapsulation only" if not peer.associated else f"{Share.SHARED} {peer.security}"
    return f"hand-off, {how}, {peer.device}"


def details_of(message: Message) -> str:  # noqa: C901, PLR0911 - one kind of message after the other
    """What of a message a reader wants to know."""
    if isinstance(message, RegReq):
        parts = ["deregistration"] if not message.lifetime else []
        if message.update is not None:
            parts.append("service update")
        if message.old_fa is not None and message.old_fa != message.care_of:
            parts.append(f"old FA {message.old_fa}")
        if message.care_of is not None:
            parts.append(f"care-of {message.care_of}")
        return ", ".join(parts)
    if isinstance(message, RegRep):
        return _joined(_code(message.code), _old(message.old_fas))
    if isinstance(message, Amr):
        return details_of(message.request)
    if isinstance(message, Har):
        return _vpns(message.information) if message.information is not None else "deregistration"
    if isinstance(message, Haa):
        return _joined(_result(message.result) or _code(message.reply.code), _old(message.reply.old_fas))
    if isinstance(message, Ama):
        refused = _result(message.result)
        if refused:
            return refused
        cached = "" if message.reply is not None else "from the cache"
        return _joined(_vpns(message.information), cached, _old(message.old_fas))
    if isinstance(message, Bu):
        return _vpns(message.information) if message.lifetime else "delete"
    if isinstance(message, Ba):
        return _code(message.status)
    return f"profile {message.profile_number}"


def _vpns(information: Any) -> str:  # noqa: ANN401 - VpnInformation or None
    if information is None:
        return ""
    parts = []
    for segment in information.segments:
        hand_off = segment.kind == "hand-off"
        ends = (segment.far, segment.near) if hand_off else (segment.near, segment.far)
        parts.append(f"{ends[0]}{'→' if hand_off else '⇄'}{ends[1]}")
    return ", ".join(parts) or "no VPN"


def _code(code: Code) -> str:
    return "" if code is Code.ACCEPTED else f"refused: {code.name.lower().replace('_', ' ')} ({int(code)})"


def _result(result: Result) -> str:
    return "" if result is Result.SUCCESS else f"refused: {result.name.lower().replace('_', ' ')} ({int(result)})"


def _old(agents: tuple[str, ...]) -> str:
    return f"old FA {', '.join(agents)}" if agents else ""


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _addressee(to: Address, message: Message) -> str:
    """The receiver; a PCN takes what is addressed to a correspondent behind it (A7)."""
    if isinstance(message, Bu) and to.role is NodeRole.PCN and message.information is not None:
        behind = {segment.correspondent.text for segment in message.information.segments}
        return f"{to.name} for {', '.join(sorted(behind))}"
    return to.name


def _short(name: str) -> str:
    """A user without his realm."""
    return name.partition("@")[0] if "@" in name else name


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() or c in " .,:/()+→⇄-" else f"#{ord(c)};" for c in text)
