"""How a simulated network is made: delays, faults, and what work costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from roamvpn.signalling.settings import Settings

MILLISECOND = 1000
"""The clock of a simulation counts microseconds."""


class Faults(NamedTuple):
    """Chances in a thousand for each message, and how much later than others it may come, in microseconds."""

    loss: int = 0
    duplicate: int = 0
    late: int = 0
    lateness: int = 0
    jitter: int = 0


class Costs(NamedTuple):
    """What work costs, in microseconds: each event, each leg that is set or deleted, an association until it is up.

    With a cost for events a node does one thing after the other, and what comes meanwhile waits.
    """

    event: int = 0
    association: int = 0
    leg: int = 0


@dataclass(slots=True)
class Options:
    """How a world is made."""

    settings: Settings = field(default_factory=Settings)
    latency: int = 5 * MILLISECOND
    faults: Faults = field(default_factory=Faults)
    costs: Costs = field(default_factory=Costs)
    lifetime: int = 1800
    durable: bool = False
    """Whether entries are kept as text for a restart; without it nodes must not crash."""
