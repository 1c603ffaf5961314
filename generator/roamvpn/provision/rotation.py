"""New keys for the whole fleet without an outage: beside the old ones, then first, then alone.

Each step is a generation of every gateway concerned. As the two ends of an association change one after the other,
an end must understand the other one whether it is a step ahead or behind:

1. `beside`: both keys are known everywhere, the old one is used
2. `switch`: the new one is used, associations are set up again with it, the old one is still understood
3. `remove`: the old one is forgotten

`secrets.next.yml` and `secrets.last.yml` in the state directory tell how far a rotation has come. A step begins only
when the one before has come to every gateway.
"""

from __future__ import annotations

import secrets as entropy
from enum import StrEnum
from typing import TYPE_CHECKING

from roamvpn.engine import compiled
from roamvpn.plan.compare import compare
from roamvpn.plan.sides import RenderedSide
from roamvpn.provision.sites import site_of
from roamvpn.stores.secrets_file import secrets_text
from roamvpn.stores.site_directory import read_secrets
from roamvpn.stores.tree import DirectorySide, write_secret
from roamvpn.stores.vault import is_encrypted
from roamvpn.tables.checks import SECRETS
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.secrets import Secrets
from roamvpn.tables.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from roamvpn.engine import Engine
    from roamvpn.provision.control import Control
    from roamvpn.provision.state import State
    from roamvpn.render.artefacts import Artefact
    from roamvpn.stores.vault import Unlock


class Phase(StrEnum):
    """A step of a rotation; `none` where there is none."""

    NONE = "none"
    BESIDE = "beside"
    SWITCH = "switch"
    REMOVE = "remove"


NEXT, LAST = "secrets.next.yml", "secrets.last.yml"
_SUFFIX = {Phase.BESIDE: "-next", Phase.SWITCH: "-last"}


class RotationSide(RenderedSide):
    """A fleet's files, and beside each secret its other value under another name."""

    def __init__(self, first: RenderedSide, second: RenderedSide, suffix: str) -> None:
        super().__init__(first.renderer, first.fleet)
        self._first = first
        self._second = second
        self._suffix = suffix

    def artefacts(self, gateway: str) -> dict[str, Artefact]:
        """Artefacts by path; a second secret where it differs from the first."""
        found = dict(self._first.artefacts(gateway))
        for path, artefact in self._second.artefacts(gateway).items():
            if (
                artefact.secret
                and path in found
                and self._second.text(gateway, path) != self._first.text(gateway, path)
            ):
                found[self._beside(path)] = artefact._replace(path=self._beside(path))
        return found

    def sources(self, gateway: str) -> dict[str, str]:
        """Digests by path."""
        return {path: artefact.source for path, artefact in self.artefacts(gateway).items()}

    def text(self, gateway: str, path: str) -> str | None:
        """The file, rendered now."""
        if path in self._first.artefacts(gateway):
            return self._first.text(gateway, path)
        original = path.removesuffix(f"{self._suffix}.conf")
        text = self._second.text(gateway, f"{original}.conf")
        name = original.rpartition("/")[2]
        return text and text.replace(f"ike-{name} {{", f"ike-{name}{self._suffix} {{")

    def _beside(self, path: str) -> str:
        return f"{path.removesuffix('.conf')}{self._suffix}.conf"


def side(control: Control, engine: Engine, phase: Phase) -> RenderedSide:
    """What the fleet gets in this phase; raises RoamvpnError where a rotation is under way and `phase` is none."""
    if phase in (Phase.NONE, Phase.REMOVE):
        if under_way(control.state) is not Phase.NONE:
            raise RoamvpnError("a rotation of keys is under way: finish it with the playbook rotate_keys")
        return engine.side
    other = _read(control.state.root / (NEXT if phase is Phase.BESIDE else LAST), control.unlock)
    return RotationSide(engine.side, compiled(control.site, other).side, _SUFFIX[phase])


def advance(control: Control, phase: Phase, sla: Iterable[str] = ()) -> None:
    """Take the step into a phase. Entering `switch`, the site's secrets file becomes the new one.

    Raises:
        RoamvpnError: where the phase before has not come to every gateway, or keys cannot be rotated.
    """
    state, path = control.state, control.directory / SECRETS
    begun, switched = state.root / NEXT, state.root / LAST
    if phase is Phase.BESIDE and under_way(state) is Phase.NONE:
        state.prepare()
        text = secrets_text(_renewed(Source(SECRETS, read_secrets(path, control.unlock)).parse(), sla))
        write_secret(begun, control.seal(text.encode()).decode() if is_encrypted(path.read_bytes()) else text)
    elif phase is Phase.SWITCH and begun.exists():
        _complete(control, Phase.BESIDE)
        write_secret(switched, path.read_text())
        # one rename: the site has the new keys or the old ones
        begun.replace(path)
        control.site = site_of(control.directory, control.unlock)
    elif phase is Phase.REMOVE and switched.exists():
        _complete(control, Phase.SWITCH)
        switched.unlink()


def under_way(state: State) -> Phase:
    """The phase that a rotation is in."""
    if (state.root / NEXT).exists():
        return Phase.BESIDE
    return Phase.SWITCH if (state.root / LAST).exists() else Phase.NONE


def _complete(control: Control, phase: Phase) -> None:
    engine = compiled(control.site)
    deployed = DirectorySide(control.state.deployed, engine.fingerprint_key)
    change = compare(deployed, side(control, engine, phase), control.tables.network.gateways)
    if change.gateways:
        names = ", ".join(entry.gateway for entry in change.gateways[:5])
        raise RoamvpnError(f"{names}: the step {phase} of the rotation has not come to every gateway; run it again")


def _renewed(data: object, sla: Iterable[str]) -> dict[str, object]:
    """The file's content with a new site key, and new PSKs of these gateways' SLAs."""
    if not isinstance(data, dict):
        raise RoamvpnError(f"{SECRETS}: must be a mapping")
    fresh = {**data, "site_key": entropy.token_hex(32)}
    agreed = {**fresh.get("sla", {})}
    for name in sla:
        if name not in agreed:
            raise RoamvpnError(f"{SECRETS}: there is no SLA of {name!a}")
        if "up_encryption" in repr(agreed[name]):
            raise RoamvpnError(f"{name}: keys set by hand cannot be changed without a gap; agree on new SPIs as well")
        agreed[name] = _new_psks(agreed[name])
    return {**fresh, "sla": agreed} if agreed else fresh


def _new_psks(node: object) -> object:
    if isinstance(node, dict):
        return {key: entropy.token_hex(32) if key == "psk" else _new_psks(value) for key, value in node.items()}
    return node


def _read(path: Path, unlock: Unlock) -> Secrets:
    try:
        return Secrets.model_validate(Source(SECRETS, read_secrets(path, unlock)).parse())
    except FileNotFoundError:
        raise RoamvpnError("there is no rotation of keys under way") from None
