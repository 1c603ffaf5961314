"""Hand-off tunnels (G21): asked for by the new foreign agent, set by the old one, gone after some seconds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from roamvpn.policy.information import hand_off
from roamvpn.policy.keys import KeyGenerator
from roamvpn.signalling.messages import Address, Bu, NodeRole
from roamvpn.signalling.settings import MS
from roamvpn.signalling.visitor import Incoming, Outgoing

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.policy.keys import Entropy
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.machine import Surroundings
    from roamvpn.signalling.visitor import Registration, Visitor


class HandOffs:
    """Makes both halves at one foreign agent; `entropy` draws the keys."""

    def __init__(self, surroundings: Surroundings, entropy: Entropy) -> None:
        self._name = surroundings.name
        self._here = Address(NodeRole.FA, surroundings.name)
        self._legs = surroundings.legs
        self._settings = surroundings.settings
        self._keys = KeyGenerator(entropy)

    def incoming(
        self, entry: Visitor, fresh: VpnInformation, registration: Registration, now: int
    ) -> tuple[Incoming, ...]:
        """A copy of the profiles for each agent that was left: source GW the old, destination GW this one (E2.3)."""
        seq, until = registration.request.seq, now + registration.lifetime * MS
        again_at = now + self._settings.request_timeout * MS
        kept = [each for each in entry.incoming if each.old_fa not in registration.old_fas]
        return (*kept, *[self.handed_off(fresh, old, seq, until, again_at) for old in registration.old_fas])

    def handed_off(self, fresh: VpnInformation, old: str, seq: int, until: int, again_at: int) -> Incoming:
        """The tunnel from one old agent, with a key of its own (G21)."""
        ends = (old, self._name)
        draw = partial(self._keys.hand_off, fresh.session_id, ends, fresh.generation)
        segments = hand_off(fresh, old, draw)
        information = fresh._replace(segments=segments)
        return Incoming(old, seq, information, until, again_at, legs=self.near_ends(information))

    def update(self, nai: str, incoming: Incoming) -> Bu:
        """The binding update for an old agent; without VPNs it just deletes."""
        lifetime = self._settings.hand_off if incoming.information is not None else 0
        return Bu(nai, incoming.seq, self._here, lifetime, 0, incoming.information, ready=True)

    def sent(self, incoming: tuple[Incoming, ...], due: list[Incoming], now: int) -> tuple[Incoming, ...]:
        """Those that are `due` were told once more."""
        told = [
            each._replace(attempts=each.attempts + 1, again_at=now + self._settings.pause(each.attempts))
            if each in due
            else each
            for each in incoming
        ]
        return tuple(told)

    def outgoing(self, bu: Bu, now: int) -> Outgoing | None:
        """The tunnel that a binding update asks for."""
        information = bu.information
        if information is None:
            return None
        until = now + min(bu.lifetime, self._settings.hand_off) * MS
        return Outgoing(bu.sender.name, bu.seq, information, until, legs=self.far_ends(information))

    def near_ends(self, information: VpnInformation) -> tuple[Contribution, ...]:
        """The halves at the new agent, which decode."""
        generation = information.generation
        return tuple([self._legs.near_end(each, generation, each.keys, None) for each in information.segments])

    def far_ends(self, information: VpnInformation) -> tuple[Contribution, ...]:
        """The halves at the old agent, which send."""
        generation = information.generation
        return tuple([self._legs.far_end(each, generation, each.keys) for each in information.segments])
