"""The playbooks over SSH: bare hosts, changes, accidents. What is wrong is told by the run itself."""

from __future__ import annotations

import pytest

from tests.lab.provisioning import CHECK_MODE, LIFECYCLE, PROVISION

pytestmark = pytest.mark.lab
Results = dict[str, dict[str, str]]


@pytest.mark.parametrize("step", CHECK_MODE)
def test_bare_host(managed: Results, step: str) -> None:
    assert managed["check mode"][step] == ""


@pytest.mark.parametrize("step", PROVISION)
def test_provision(managed: Results, step: str) -> None:
    assert managed["provision"][step] == ""


@pytest.mark.parametrize("step", PROVISION)
def test_provision_with_keys_set_by_hand(by_hand: Results, step: str) -> None:
    assert by_hand["provision"][step] == ""


@pytest.mark.parametrize("step", LIFECYCLE)
def test_lifecycle(managed: Results, step: str) -> None:
    assert managed["lifecycle"][step] == ""
