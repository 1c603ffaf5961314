"""`policy_tests.yml`: what must come out of the tables, checked before every plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.policy.paths import Rejected, VpnPath, determine_path
from roamvpn.tables.records import NO_CLASS, Expectation
from roamvpn.tables.types import host_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.tables.records import PolicyTest, VpnRecord
    from roamvpn.tables.tables import Tables


def decide(tables: Tables, nai: str, foreign_agent: str, address: str) -> tuple[VpnRecord, VpnPath] | None:
    """The record and path that carry a user's packets to `address`, as the classifiers choose: longest destination."""
    wanted = host_prefix(address)
    hits = [record for record in tables.vpn_database.get(nai, ()) if record.destaddr.contains(wanted)]
    for record in sorted(hits, key=lambda record: -record.destaddr.length):
        path = determine_path(tables, record, foreign_agent)
        if not isinstance(path, Rejected):
            return record, path
    return None


def evaluate(tables: Tables, test: PolicyTest) -> list[str]:
    """What differs from the expectation; empty where the test holds."""
    decision = decide(tables, test.user, test.at, test.to)
    expect = test.expect
    if not isinstance(expect, Expectation):
        return [f"expected none, but {describe(*decision)}"] if decision else []
    if decision is None:
        return [f"expected {expect.security} over {arrows(expect.path)}, but no VPN carries it"]
    record, path = decision
    return list(_differences(expect, record, path))


def _differences(expect: Expectation, record: VpnRecord, path: VpnPath) -> Iterator[str]:
    if path.gateways != expect.path:
        yield f"path is {arrows(path.gateways)}, expected {arrows(expect.path)}"
    if record.security is not expect.security:
        yield f"security is {record.security}, expected {expect.security}"
    if expect.share is not None and record.share is not expect.share:
        yield f"share is {record.share}, expected {expect.share}"
    for name in ("upclass", "downclass"):
        wanted, got = getattr(expect, name), getattr(record, name) or NO_CLASS
        if wanted is not None and wanted != got:
            yield f"{name} is {got}, expected {wanted}"


def arrows(path: tuple[str, ...]) -> str:
    """`fa21→ha31→gw51`."""
    return "→".join(path)


def describe(record: VpnRecord, path: VpnPath) -> str:
    """One line on what carries the packets."""
    return (
        f"profile {record.profile_number} carries it: {record.security} ({record.share}) over {arrows(path.gateways)}"
    )
