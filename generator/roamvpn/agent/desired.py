"""What shall be at this gateway, as its node has it, and what each user wants of it, as parts of a plan."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from roamvpn.agent.material import Workshop, leaning
from roamvpn.agent.plan import Want
from roamvpn.agent.user import User
from roamvpn.gateway.errors import GatewayError
from roamvpn.policy.compile import add, remove
from roamvpn.policy.naming import peer_name
from roamvpn.tables.gateway_state import BASE, GatewayState
from roamvpn.tables.types import Security, Share

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from roamvpn.agent.material import LegMaterial, PeerMaterial
    from roamvpn.agent.plan import Part
    from roamvpn.policy.legs import Contribution
    from roamvpn.render.artefacts import Renderer
    from roamvpn.tables.gateway_state import Leg
    from roamvpn.tables.network import Network
    from roamvpn.tables.secrets import ProfileKeys

_MODULUS = 1 << 128


class Desired:
    """The state that is wished for, and its users."""

    def __init__(self, gateway: str, network: Network, renderer: Renderer, credentials: Path) -> None:
        self.state = GatewayState(gateway)
        self.users: dict[str, User] = {}
        self.owners: dict[str, str] = {}
        """Users by the names of their connections."""
        self._workshop = Workshop(gateway, network, renderer, credentials)
        self._sum = 0

    @property
    def digest(self) -> str:
        """Of all legs and their keys; equal for equal ones, whatever came before."""
        return f"{self._sum:032x}"

    def want(self, user: User) -> Want:
        """What a user shall have, as parts. Raises GatewayError or RenderError for what cannot be rendered."""
        made: dict[object, LegMaterial] = {}
        parts = [self._leg(user, self.state.legs[name], self.state.secrets.get(name), made) for name in user.legs]
        parts += [leaning(name) for name in sorted(user.shared)]
        prepared: list[Part] = []
        for each in user.prepared:
            if each.leg is not None:
                prepared.append(self._leg(user, each.leg, each.keys, made))
            elif each.peer is not None:
                prepared.append(leaning(each.peer.name))
        user.made = made
        return Want(tuple(parts), tuple(prepared))

    def _leg(self, user: User, leg: Leg, keys: ProfileKeys | None, made: dict[object, LegMaterial]) -> Part:
        own = leg.share is Share.OWN and leg.security is not Security.ENCAPSULATION
        name = None if own else peer_name(leg.security, leg.peer)
        peer = name if name is not None and self._session_peer(name) else None
        # the text of a shared leg holds no key, whoever has it
        known = (leg, keys if own else None, peer)
        material = user.made.get(known) or self._workshop.leg(leg, keys if own else None, peer)
        made[known] = material
        if material.part.key is not None:
            user.material[material.part.key] = material
            self.owners[material.part.key.name] = user.nai
        return material.part

    def renew(self, state: GatewayState) -> None:
        """Take over what the node holds, in place of all that was wished before."""
        self.state = state.copy()
        self._sum = 0
        for user in self.users.values():
            user.legs.clear()
            user.prepared.clear()
            user.shared.clear()
        for leg in self.state.legs.values():
            self.user(leg.nai).legs[leg.name] = None
            self._count(leg, self.state.secrets.get(leg.name), 1)

    def add(self, user: User, contribution: Contribution) -> None:
        """As `policy.compile.add`, and note whose it is."""
        leg = contribution.leg
        if leg is not None and leg.name in self.state.legs:
            self._count(self.state.legs[leg.name], self.state.secrets.get(leg.name), -1)
        add(self.state, contribution)
        if leg is not None:
            user.legs[leg.name] = None
            self._count(leg, self.state.secrets.get(leg.name), 1)
        elif contribution.peer is not None and contribution.peer.owner != BASE:
            user.shared.append(contribution.peer.name)

    def remove(self, user: User, contribution: Contribution) -> None:
        """As `policy.compile.remove`, and note that it is his no more."""
        leg, peer = contribution.leg, contribution.peer
        before = self.state.legs.get(leg.name) if leg is not None else None
        keys = self.state.secrets.get(leg.name) if leg is not None else None
        if peer is None or peer.name in self.state.references:
            remove(self.state, contribution)
        elif leg is not None:
            remove(self.state, contribution._replace(peer=None))
        if leg is not None and before is not None and leg.name not in self.state.legs:
            user.legs.pop(leg.name, None)
            self._count(before, keys, -1)
        elif leg is None and peer is not None and peer.name in user.shared:
            user.shared.remove(peer.name)

    def _count(self, leg: Leg, keys: ProfileKeys | None, sign: int) -> None:
        secret = b"".join(key or b"" for key in keys) if keys is not None else b""
        whole = blake2b(leg.digest().encode() + secret, digest_size=16).digest()
        self._sum = (self._sum + sign * int.from_bytes(whole, "big")) % _MODULUS

    def _session_peer(self, name: str) -> bool:
        peer = self.state.peers.get(name)
        return peer is None or peer.owner != BASE

    def user(self, nai: str) -> User:
        """The user, who may be new."""
        user = self.users.get(nai)
        if user is None:
            user = self.users[nai] = User(nai)
        return user

    def peer(self, name: str) -> PeerMaterial:
        """What is shared with another gateway. Raises GatewayError."""
        peer = self.state.peers.get(name)
        keys = self.state.secrets.get(name)
        if peer is None:
            for user in self.users.values():
                for each in user.prepared:
                    if each.peer is not None and each.peer.name == name:
                        peer, keys = each.peer, each.keys
        if peer is None:
            raise GatewayError("plan", f"{name}: nobody has brought this peer")
        return self._workshop.peer(peer, keys)

    def unused(self, name: str) -> bool:
        """Whether nobody leans on a shared peer."""
        return name not in self.state.peers and not any(
            name in user.peers or any(each.peer is not None and each.peer.name == name for each in user.prepared)
            for user in self.users.values()
        )

    def session_peers(self) -> Iterable[PeerMaterial]:
        """What is shared with others by sessions, whoever they are."""
        return [self.peer(name) for name, peer in sorted(self.state.peers.items()) if peer.owner != BASE]
