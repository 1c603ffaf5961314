"""What is checked of the applier, step by step: the sentence, and the step in the guest."""

from __future__ import annotations

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
    "strays are removed after a restart, what only resembles ours is not": "strays",
    "after the last session all is as it was before the first": "gone",
}
