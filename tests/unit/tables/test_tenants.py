"""Tenants may overlap, but not behind one gateway."""

from __future__ import annotations

import pytest

from tests.documents import Documents


@pytest.mark.parametrize("cn", ["10.5.0.0/16", "10.5.1.0/24", "10.0.0.0/8"])
def test_tenants_that_overlap_behind_one_gateway_are_refused(cn: str) -> None:
    documents = Documents()
    documents.rows.append({"cn": cn, "gw_address": "192.0.2.42", "gw_type": "dynamic", "tenant": "acme"})
    messages = [problem.message for problem in documents.problems() if "behind the same gateway" in problem.message]
    assert len(messages) == 1


def test_tenants_side_by_side_behind_one_gateway_are_fine() -> None:
    documents = Documents()
    documents.rows.append({"cn": "10.6.0.0/16", "gw_address": "192.0.2.42", "gw_type": "dynamic", "tenant": "acme"})
    assert documents.problems() == ()
