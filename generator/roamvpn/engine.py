"""From a site's directory to its checked tables, compiled fleet and renderer: what every command starts with."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roamvpn.plan.sides import RenderedSide
from roamvpn.policy.assertions import evaluate
from roamvpn.policy.compile import Fleet, compile_fleet
from roamvpn.policy.keys import derived
from roamvpn.render.artefacts import Renderer
from roamvpn.stores.site_directory import read_revision, read_site
from roamvpn.stores.templates import templates
from roamvpn.stores.vault import decrypt
from roamvpn.tables.checks import POLICY_TESTS
from roamvpn.tables.problems import InputError, RoamvpnError
from roamvpn.tables.site import Site, load_site
from roamvpn.tables.types import Keying, Security

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from roamvpn.stores.vault import Unlock
    from roamvpn.tables.secrets import Secrets


@dataclass(slots=True)
class Engine:
    """A site, checked and compiled."""

    site: Site
    fleet: Fleet
    side: RenderedSide

    @property
    def fingerprint_key(self) -> bytes | None:
        """The key of fingerprints in diffs, where secrets are at hand."""
        return bytes(self.site.secrets.site_key) if self.site.secrets is not None else None

    @property
    def warnings(self) -> list[str]:
        """What a reviewer must know: rejected profiles, keys set by hand, traffic sent in clear."""
        found = [str(problem) for problem in self.site.warnings]
        tables = self.site.tables
        for name, gateway in sorted(tables.network.gateways.items()):
            if gateway.sla is not None and gateway.sla.keying is Keying.STATIC:
                found.append(f"{name}: keying: static has no rekeying and no forward secrecy; prefer IKEv2")
        clear = [record.profile_number for record in tables.records if record.security is Security.ENCAPSULATION]
        if clear:
            many = "profile" if len(clear) == 1 else "profiles"
            listed = ", ".join(map(str, clear[:5])) + (" …" if len(clear) > 5 else "")
            found.append(f"encapsulation only, not encrypted: {many} {listed}")
        return found


def open_site(directory: Path) -> Engine:
    """Read, check and compile a site.

    Raises:
        InputError: with all problems of all files, failed policy tests among them.
    """
    return compiled(checked_site(directory))


def checked_site(directory: Path, unlock: Unlock = decrypt) -> Site:
    """Read and check a site; `unlock` decrypts its secrets. Raises InputError as `open_site` does."""
    with uncollected():
        site = load_site(read_site(directory, unlock=unlock))
        check_policy(site)
    return site


def open_revision(directory: Path, revision: str, secrets: Secrets | None) -> Engine:
    """The same site as it was in a git revision, with today's secrets."""
    try:
        return compiled(load_site(read_revision(directory, revision)), secrets)
    except InputError as error:
        raise RoamvpnError(f"the inventory at {revision!a:.40} does not hold:\n{error}") from None


def compiled(site: Site, secrets: Secrets | None = None) -> Engine:
    """Compile a site, with other secrets than its own if they are given."""
    with uncollected():
        known = secrets or site.secrets
        key = bytes(known.site_key) if known is not None else None
        fleet = compile_fleet(site.tables, site.sessions, known, derived(key) if key is not None else None)
        renderer = Renderer(site.tables.network, templates(), key)
    return Engine(site, fleet, RenderedSide(renderer, fleet))


def check_policy(site: Site) -> None:
    """Run `policy_tests.yml`; raises InputError with every assertion that fails."""
    problems = []
    for index, test in enumerate(site.policy_tests):
        for difference in evaluate(site.tables, test):
            value = f"{test.user} at {test.at} to {test.to}"
            problems.append(site.sources[POLICY_TESTS].problem(("policy_tests", index), value, difference))
    if problems:
        raise InputError(problems)


@contextmanager
def uncollected() -> Iterator[None]:
    """Put the cyclic collector off: tables and states have no cycles, and scanning them over and over costs a third."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
