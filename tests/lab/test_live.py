"""Mobiles roam through the example network alive. What is wrong is told by the run itself, with figures under -s."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.live import STEPS

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("step", STEPS)
def test_live(live: dict[str, dict[str, Any]], step: str) -> None:
    # E1 to E7, F1 to F10, G23, G25
    assert live["steps"][step] == ""
