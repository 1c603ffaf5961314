"""From contributions to what goes into charon and the kernel: the renderer's bytes, as in a provisioned generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.agent.plan import Key, Part
from roamvpn.gateway import charon, kernel, units
from roamvpn.tables.gateway_state import GatewayState
from roamvpn.tables.types import Role

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.gateway.units import Command
    from roamvpn.render.artefacts import Renderer
    from roamvpn.tables.gateway_state import Leg, Peer
    from roamvpn.tables.network import Network
    from roamvpn.tables.secrets import ProfileKeys

Message = dict[str, object]
Lines = dict[str, tuple[str, ...]]
_FILTER = "filter "


class Association:
    """A connection and its secret as vici takes them. It holds a key, so it does not print."""

    __slots__ = ("connection", "initiate", "key", "secret")

    def __init__(self, key: Key, connection: Message, secret: Message | None, *, initiate: bool) -> None:
        self.key = key
        self.connection = connection
        self.secret = secret
        self.initiate = initiate

    def __repr__(self) -> str:
        """Its name only."""
        return f"Association({self.key.name})"


class LegMaterial:
    """One leg: the part that is planned with, and its association."""

    __slots__ = ("association", "leg", "part", "static")

    def __init__(self, leg: Leg, part: Part, association: Association | None, *, static: bool) -> None:
        """`static`: the other end is a gateway that is never signalled, and waits for this one."""
        self.leg = leg
        self.static = static
        self.part = part
        self.association = association


class PeerMaterial:
    """What is shared with another gateway: lines of its device, and its association."""

    __slots__ = ("association", "commands", "peer")

    def __init__(self, peer: Peer, commands: list[Command], association: Association | None) -> None:
        self.peer = peer
        self.commands = commands
        self.association = association


class Workshop:
    """Makes them at one gateway, with its renderer. `credentials` is where charon's certificates are."""

    def __init__(self, gateway: str, network: Network, renderer: Renderer, credentials: Path) -> None:
        self._gateway = gateway
        self._network = network
        self._renderer = renderer
        self._credentials = credentials

    def leg(self, leg: Leg, keys: ProfileKeys | None, peer: str | None) -> LegMaterial:
        """A leg with its keys, or with the shared peer that it leans on. Raises GatewayError, RenderError."""
        state = GatewayState(self._gateway, legs={leg.name: leg})
        if keys is not None and peer is None:
            state.secrets[leg.name] = keys
        wanted = self._wanted(state)
        association = self._association(wanted, leg.name, leg.mark)
        decode: Lines = {}
        switch: Lines = {}
        for name, commands in kernel.grouped(wanted.legs).items():
            (switch if name.startswith(_FILTER) else decode)[name] = tuple(command.line for command in commands)
        part = Part(
            name=leg.name,
            slot=f"{leg.handle}" if leg.handle is not None else leg.name,
            profile=leg.profile_number,
            hand_off=leg.hand_off,
            key=association.key if association is not None else None,
            peer=peer,
            decode=decode,
            switch=switch,
        )
        return LegMaterial(leg, part, association, static=Role.STATIC in self._network.gateways[leg.peer].roles)

    def peer(self, peer: Peer, keys: ProfileKeys | None) -> PeerMaterial:
        """What is shared with a peer. Raises GatewayError, where its certificate cannot be read, and RenderError."""
        state = GatewayState(self._gateway, peers={peer.name: peer})
        if keys is not None:
            state.secrets[peer.name] = keys
        wanted = self._wanted(state)
        return PeerMaterial(peer, wanted.devices, self._association(wanted, peer.name, peer.mark))

    def _wanted(self, state: GatewayState) -> units.Wanted:
        wanted = units.Wanted()
        for path, artefact in self._renderer.artefacts(state).items():
            if artefact.unit is not None:
                units.parse(self._renderer.text(state, artefact), path, path.split("/")[1], wanted)
        return wanted

    def _association(self, wanted: units.Wanted, name: str, mark: int) -> Association | None:
        tree = wanted.connections.get(name)
        if tree is None:
            return None
        connection = charon.connection(tree, self._credentials)
        secret_tree = wanted.secrets.get(f"ike-{name}")
        secret = charon.shared(f"ike-{name}", secret_tree) if secret_tree is not None else None
        digest = charon.digest({"connection": connection, "secret": secret or {}})
        return Association(Key(name, digest, mark), connection, secret, initiate=name in wanted.initiate)


def leaning(name: str, profile: int = 0) -> Part:
    """What leans on a shared peer and nothing else: the near end of a hand-off that decodes."""
    return Part(name=name, slot=name, profile=profile, hand_off=True, key=None, peer=name, decode={}, switch={})
