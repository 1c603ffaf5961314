"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# no deadline: a loaded machine is no failure. The same examples in each run; --hypothesis-seed=N tries others
settings.register_profile(
    "roamvpn", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("roamvpn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files anew, to review with git diff"
    )


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
