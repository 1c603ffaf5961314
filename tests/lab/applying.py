"""What is checked of the applier, step by step: the sentence, and the step in the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STEPS = {
    "a leg is set at both ends and carries packets": "set",
    "its connection and secret are out of charon once it is up": "unloaded",
    "the same state once more changes nothing": "again",
    "a move loses no packet of a 5 ms stream, either way": "move",
    "nothing is left at the agent that was left": "left",
    "another key at the same agent costs no packet": "again_there",
    "what is shared comes with its first user and goes with the last": "shared",
    "an association that does not come up costs nothing, and is mended by itself": "rollback",
    "an applier that dies at any step is where it shall be after its restart": "kill",
    "associations come back after charon was restarted": "charon",
    "many users at once are each served": "storm",
    "strays are removed after a restart, what only resembles ours is not": "strays",
    "after the last session all is as it was before the first": "gone",
}

STORM = [f"storm{number}@isp3.example" for number in range(60)]
"""Users who come all at once, each with an association of his own to PCN 41."""


def with_storm(site: Path) -> Path:
    """Add them to a site."""
    rows = {
        "network.yml": "  - {{nai: {nai}, home_address: 203.0.113.{host}, home_agent: ha31}}\n",
        "vpn_database.yml": (
            "  - {{profile_number: {number}, nai: {nai}, vpnshare: 1, destaddr: 198.51.100.0/25, upclass: ef,\n"
            "     downclass: af41, up_spi: {spi}, down_spi: {spi}}}\n"
        ),
    }
    for name, row in rows.items():
        text = "".join(
            row.format(nai=nai, host=100 + index, number=1000 + index, spi=0x8000 + index)
            for index, nai in enumerate(STORM)
        )
        path = site / name
        path.write_text(path.read_text().rstrip("\n") + "\n" + text)
    return site
