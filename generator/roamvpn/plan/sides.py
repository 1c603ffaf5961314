"""The two sides of a comparison. A side knows its files by digest and reads one only when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from roamvpn.tables.gateway_state import SESSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from roamvpn.policy.compile import Fleet
    from roamvpn.render.artefacts import Artefact, Renderer


class Side(Protocol):
    """What stands, or shall stand, on the gateways."""

    def gateways(self) -> Iterable[str]:
        """Names of the gateways that have files."""

    def sources(self, gateway: str) -> Mapping[str, str]:
        """Digest of what each file is made from, by path; empty for a gateway that is not there."""

    def text(self, gateway: str, path: str) -> str | None:
        """The file's text; None where it cannot be had, as secrets without their keys."""


class Nothing:
    """A side without gateways: whatever is compared with it is new."""

    def gateways(self) -> Iterable[str]:
        """None."""
        return ()

    def sources(self, gateway: str) -> Mapping[str, str]:  # noqa: ARG002 - as every side has it
        """Empty."""
        return {}

    def text(self, gateway: str, path: str) -> str | None:  # noqa: ARG002 - as every side has it
        """None."""
        return None


class RenderedSide:
    """Files as a fleet's state renders them. What sessions ask for at a gateway with an agent is the agent's affair."""

    def __init__(self, renderer: Renderer, fleet: Fleet) -> None:
        self.renderer = renderer
        self.fleet = fleet
        self._artefacts: dict[str, dict[str, Artefact]] = {}

    def gateways(self) -> Iterable[str]:
        """All gateways of the network."""
        return self.fleet.states

    def artefacts(self, gateway: str) -> dict[str, Artefact]:
        """Artefacts of a gateway by path, computed once."""
        found = self._artefacts.get(gateway)
        if found is None:
            state = self.fleet.states.get(gateway)
            found = self.renderer.artefacts(state) if state is not None else {}
            if gateway in self.renderer.agents:
                found = {path: artefact for path, artefact in found.items() if not path.startswith(f"{SESSION}/")}
            self._artefacts[gateway] = found
        return found

    def sources(self, gateway: str) -> Mapping[str, str]:
        """Digests by path."""
        return {path: artefact.source for path, artefact in self.artefacts(gateway).items()}

    def text(self, gateway: str, path: str) -> str | None:
        """The file, rendered now."""
        return self.renderer.text(self.fleet.states[gateway], self.artefacts(gateway)[path])

    def refresh(self, gateways: Iterable[str]) -> None:
        """Forget what was computed for gateways whose state has changed."""
        for gateway in gateways:
            self._artefacts.pop(gateway, None)
