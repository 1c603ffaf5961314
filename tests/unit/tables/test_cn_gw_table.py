"""CN-GW table: the longest prefix wins, within the tenant (B6)."""

from __future__ import annotations

import pytest

from roamvpn.tables.cn_gw_table import CnGwTable
from roamvpn.tables.records import CnGwRow
from roamvpn.tables.types import parse_prefix


def _row(cn: str, host: int, tenant: str | None = None) -> CnGwRow:
    return CnGwRow.model_validate({"cn": cn, "gw_address": f"192.0.2.{host}", "gw_type": "dynamic", "tenant": tenant})


TABLE = CnGwTable(
    [
        _row("10.0.0.0/8", 1),
        _row("10.5.0.0/16", 2, "acme"),
        _row("10.5.0.0/16", 3, "globex"),
        _row("10.5.1.0/24", 4),
        _row("10.5.1.9", 5, "acme"),
        _row("10.6.0.0/16", 6),
        _row("10.6.0.0/16", 7, "acme"),
    ]
)


@pytest.mark.parametrize(
    ("destination", "tenant", "host"),
    [
        ("10.5.2.1", "acme", 2),
        ("10.5.2.1", "globex", 3),
        ("10.5.2.1", None, 1),
        ("10.5.1.1", "acme", 4),
        ("10.5.1.9", "acme", 5),
        ("10.5.1.9", "globex", 4),
        ("10.5.1.0/24", "acme", 4),
        ("10.5.0.0/16", "globex", 3),
        ("10.6.1.1", "acme", 7),
        ("10.6.1.1", "globex", 6),
        ("10.0.0.0/7", "acme", None),
        ("11.0.0.1", "acme", None),
    ],
)
def test_the_longest_prefix_wins_and_a_tenant_sees_no_other_tenant(
    destination: str, tenant: str | None, host: int | None
) -> None:
    row = TABLE.lookup(parse_prefix(destination), tenant)
    assert (row.gw_address if row else None) == (f"192.0.2.{host}" if host else None)
