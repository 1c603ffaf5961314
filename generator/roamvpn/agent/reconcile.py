"""What stands in kernel and charon against what shall stand: found after a start, and told as drift."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roamvpn.agent.ownership import Ownership, stands, user_in
from roamvpn.agent.plan import Key, Part
from roamvpn.gateway import kernel as gateway_kernel
from roamvpn.gateway.errors import GatewayError
from roamvpn.policy.naming import user_hash
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.agent.apply import Applier
    from roamvpn.agent.plan import Want
    from roamvpn.agent.user import User
    from roamvpn.gateway.objects import Objects
    from roamvpn.tables.network import Network

_THERE = ("?",)
"""Stands for the lines of an object that is there and may be otherwise than wanted."""
Row = dict[str, str]


class Reconciler:
    """Compares, and notes in the applier's users what was found; their own plans then do the rest."""

    def __init__(self, applier: Applier, network: Network) -> None:
        self._applier = applier
        self._ownership = Ownership(network, applier.desired.state.gateway)

    async def run(self) -> int:
        """Take note of what stands, remove what nobody wants, set users on their way; returns how much was stray.

        Raises GatewayError where kernel or charon cannot be asked.
        """
        applier = self._applier
        live = await asyncio.to_thread(gateway_kernel.live)
        await applier.charon.look()
        loaded = await applier.charon.connections() | await applier.charon.secrets()
        wants = self._wants()
        filters: dict[str, list[str]] = {}
        for name in live:
            if name.startswith("filter ") and self._owned(name):
                filters.setdefault(name.rpartition(" ")[2], []).append(name)
        for user, want in wants:
            if not user.busy:
                self._adopt(user, want, live, filters)
        await self._peers(live)
        removed = await self._strays(live, loaded, {user_hash(user.nai): user for user, _want in wants})
        for user in list(applier.users.values()):
            if not user.busy:
                applier.wish(user)
        return removed

    async def drift(self) -> list[Row]:
        """What is not as it shall be; nothing is changed. Raises GatewayError."""
        applier = self._applier
        live = await asyncio.to_thread(gateway_kernel.live)
        loaded = await applier.charon.connections() | await applier.charon.secrets()
        rows: list[Row] = []
        wanted: set[str] = set()
        names: set[str] = set()
        for user, want in self._wants():
            for part in (*want.parts, *want.prepared):
                lines = {**part.decode, **(part.switch if part in want.parts else {})}
                wanted |= set(lines)
                rows += self._differing(lines, live)
                if part.key is not None:
                    names.add(part.key.name)
                    if part.waits and part in want.parts and not applier.charon.up(part.key):
                        rows.append(_row(f"association {part.key.name}", "down"))
            wanted |= {*user.objects, *user.lingering}
        for material in applier.desired.session_peers():
            made = gateway_kernel.grouped(material.commands)
            wanted |= set(made)
            rows += [_row(name, "missing") for name in made if name not in live]
            if material.association is not None:
                names.add(material.peer.name)
                if not applier.charon.up(material.association.key):
                    rows.append(_row(f"association {material.peer.name}", "down"))
        rows += [_row(name, "foreign") for name in live if name not in wanted and self._owned(name)]
        rows += [
            _row(f"charon {name}", "foreign")
            for name in loaded
            if name not in names and self._ownership.connection(name)
        ]
        return sorted(rows, key=lambda row: (row["object"], row["state"]))

    def _wants(self) -> list[tuple[User, Want]]:
        found = []
        for user in list(self._applier.users.values()):
            try:
                found.append((user, self._applier.desired.want(user)))
            except (GatewayError, RoamvpnError):
                # his own task meets the same, and tells it
                continue
        return found

    def _adopt(self, user: User, want: Want, live: Objects, filters: dict[str, list[str]]) -> None:
        """Note what stands for a user. What carries his packets, whatever it is, stays until the new stands."""
        charon = self._applier.charon
        user.force = ()
        user.objects = {name: _THERE for name in user.objects if name in live}
        for part in (*want.parts, *want.prepared):
            if part.key is not None:
                charon.expect(part.key)
                user.keys.add(part.key)
            for name, lines in {**part.decode, **part.switch}.items():
                if name in live:
                    user.objects[name] = lines if stands(live[name], lines) else _THERE
        force = []
        for part in want.parts:
            own = part.key is None or charon.up(part.key)
            if own and all(user.objects.get(name) == lines for name, lines in part.switch.items()):
                force.append(part)
                continue
            standing = filters.get(part.slot, [])
            if standing:
                user.objects.update({name: user.objects.get(name, _THERE) for name in standing})
                force.append(_unknown(part, {name: user.objects[name] for name in standing}))
        user.force = tuple(force)

    async def _peers(self, live: Objects) -> None:
        for material in self._applier.desired.session_peers():
            try:
                await self._applier.peers.build(material, live)
            except GatewayError as error:
                # those who lean on it try again, and it must not keep others from being found
                self._applier.alarm("", material.peer.name, str(error))
            self._applier.peers.bring_up(material.peer.name, initiate=False)

    async def _strays(self, live: Objects, loaded: set[str], users: dict[str, User]) -> int:
        """Remove what sessions own and nobody wants; what belongs to a user goes by his plan, once the new stands."""
        applier = self._applier
        count = 0
        charon = applier.charon
        for sa in charon.standing():
            if sa.key is None and self._ownership.connection(sa.name) and sa.unique not in applier.carrier.draining:
                user = users.get(user_in(sa.name) or "")
                count += 1
                if user is not None:
                    key = Key(sa.name, f"?{sa.unique}", sa.mark)
                    charon.expect(key)
                    user.keys.add(key)
                elif sa.name not in applier.peers.names():
                    await charon.terminate(sa.unique)
        for name in sorted(loaded):
            if not self._ownership.connection(name) or name in charon.loaded:
                continue
            user = users.get(user_in(name) or "")
            if user is not None and not user.busy:
                # of what it is made is unknown, so it is loaded again where it is wanted
                charon.loaded[name] = Key(name, "?", 0)
                user.keys.add(charon.loaded[name])
            elif user is None:
                count += 1
                await charon.unload_stray(name)
        known = self._known()
        gone = [name for name in live if self._owned(name) and name not in known]
        await applier.peers.take_away(gone)
        return count + len(gone)

    def _known(self) -> set[str]:
        applier = self._applier
        known = {name for user in applier.users.values() for name in (*user.objects, *user.lingering)}
        for material in applier.desired.session_peers():
            known |= set(gateway_kernel.grouped(material.commands))
        return known

    def _owned(self, name: str) -> bool:
        return self._ownership.object(name, self._applier.desired.state)

    def _differing(self, lines: dict[str, tuple[str, ...]], live: Objects) -> Iterator[Row]:
        for name, wanted in lines.items():
            if name not in live:
                yield _row(name, "missing")
            elif not stands(live[name], wanted):
                yield _row(name, "changed")


def _unknown(part: Part, objects: dict[str, tuple[str, ...]]) -> Part:
    """What carries a part's packets now, of which nobody remembers more than its filters."""
    return part._replace(name=f"?{part.name}", key=None, peer=None, decode={}, switch=objects)


def _row(name: str, state: str) -> Row:
    return {"object": name, "state": state, "detail": ""}
