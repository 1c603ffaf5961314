"""CN-GW address correspondence table (Fig 8): longest prefix wins, look-ups stay within the tenant (B6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roamvpn.tables.records import CnGwRow
    from roamvpn.tables.types import Prefix

_Level = dict[tuple[int, int], "CnGwRow"]


class CnGwTable:
    """Rows indexed by tenant, then by (length, network): a look-up costs one probe per length in use."""

    __slots__ = ("_lengths", "_levels", "rows")

    def __init__(self, rows: Iterable[CnGwRow]) -> None:
        self.rows = tuple(rows)
        self._levels: dict[str | None, _Level] = {}
        for row in self.rows:
            self._levels.setdefault(row.tenant, {}).setdefault((row.cn.length, row.cn.first), row)
        self._lengths = {
            tenant: sorted({length for length, _ in level}, reverse=True) for tenant, level in self._levels.items()
        }

    def lookup(self, destination: Prefix, tenant: str | None) -> CnGwRow | None:
        """The row that contains `destination`: the longest of the tenant's and public ones; the tenant's wins a tie."""
        best = self._longest(destination, None)
        if tenant is not None:
            own = self._longest(destination, tenant)
            if own is not None and (best is None or own.cn.length >= best.cn.length):
                return own
        return best

    def touching(self, destination: Prefix, tenant: str | None) -> CnGwRow | None:
        """A row that `destination` overlaps without lying inside it, if there is one."""
        for row in self.rows:
            if row.tenant in (None, tenant) and destination.contains(row.cn):
                return row
        return None

    def _longest(self, destination: Prefix, tenant: str | None) -> CnGwRow | None:
        level = self._levels.get(tenant)
        if level is None:
            return None
        for length in self._lengths[tenant]:
            if length <= destination.length:
                network = destination.first >> (32 - length) << (32 - length)
                row = level.get((length, network))
                if row is not None:
                    return row
        return None
