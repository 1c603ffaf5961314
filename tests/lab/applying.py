"""What is checked of the applier, step by step: the sentence, and the step in the guest."""

from __future__ import annotations

STEPS = {
    "a leg is set at both ends and carries packets": "set",
    "its connection and secret are out of charon once it is up": "unloaded",
    "the same state once more changes nothing": "again",
    "a move loses no packet of a 5 ms stream, either way": "move",
    "nothing is left at the agent that was left": "left",
}
