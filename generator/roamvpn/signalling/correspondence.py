"""Message correspondence: Fig 11 (AAA) and Fig 21 (mobility agents), rebuilt from the prose (B17 to B22).

The machines look up in `ANSWERS` what a message is answered with. Rows that the figures do not have, for refusals and
timeouts, name the reading that asks for them.
"""

from __future__ import annotations

from typing import NamedTuple

from roamvpn.signalling.messages import Ama, Amr, Ba, Br, Bu, Haa, Har, NodeRole, RegRep, RegReq, Timer
from roamvpn.tables.types import Word


class Case(Word):
    """What, besides the message, decides the answer."""

    ANY = "any"
    MISS = "no old foreign agent, or cache miss"
    HIT = "old foreign agent and cache hit"
    LOCAL = "without embedded reply"
    OLD = "old foreign agent known"
    NO_OLD = "no old foreign agent"
    STATIC = "no dynamic profile to post"
    DYNAMIC = "dynamic profile to post"
    ACKNOWLEDGED = "all acknowledged"
    FOR_HAR = "all acknowledged, asked by HAR"
    FOR_REQUEST = "all acknowledged, asked by Reg Req"
    CACHED = "VPN still cached"
    UNKNOWN = "not cached"
    REFUSED = "refused"
    ANEW = "the home agent knows nothing that fits"
    ENDING = "remaining lifetime below threshold"
    LATE = "no acknowledgement in time"


class Row(NamedTuple):
    """On `received` in this `case`, `role` sends `sends` to `to`; None sends nothing."""

    item: str
    role: NodeRole
    received: type
    case: Case
    sends: type | None
    to: NodeRole | None


_R = NodeRole
FIG_11 = (
    Row("B17", _R.AAAF, Amr, Case.MISS, Amr, _R.AAAH),
    Row("B17", _R.AAAF, Amr, Case.HIT, Ama, _R.FA),
    Row("B17", _R.AAAF, Ama, Case.ANY, Ama, _R.FA),
    Row("G25", _R.AAAF, Amr, Case.REFUSED, Ama, _R.FA),
    Row("B18", _R.AAAH, Amr, Case.ANY, Har, _R.HA),
    Row("B18", _R.AAAH, Haa, Case.ANY, Ama, _R.AAAF),
    Row("G25", _R.AAAH, Amr, Case.REFUSED, Ama, _R.AAAF),
    Row("G25", _R.AAAH, Timer, Case.LATE, Ama, _R.AAAF),
)
FIG_21 = (
    Row("B19", _R.FA, RegReq, Case.ANY, Amr, _R.AAAF),
    Row("B19", _R.FA, Ama, Case.LOCAL, RegReq, _R.HA),
    Row("B19", _R.FA, Ama, Case.OLD, Bu, _R.FA),
    Row("B19", _R.FA, Ama, Case.NO_OLD, RegRep, _R.MN),
    Row("B19", _R.FA, RegRep, Case.OLD, Bu, _R.FA),
    Row("B19", _R.FA, RegRep, Case.NO_OLD, RegRep, _R.MN),
    Row("B19", _R.FA, Ba, Case.ACKNOWLEDGED, RegRep, _R.MN),
    Row("G25", _R.FA, RegReq, Case.REFUSED, RegRep, _R.MN),
    Row("G25", _R.FA, Ama, Case.REFUSED, RegRep, _R.MN),
    Row("G25", _R.FA, RegRep, Case.REFUSED, RegRep, _R.MN),
    Row("G26", _R.FA, RegRep, Case.ANEW, Amr, _R.AAAF),
    Row("G25", _R.FA, Timer, Case.LATE, RegRep, _R.MN),
    Row("G25", _R.FA, Timer, Case.OLD, Bu, _R.FA),
    Row("B20", _R.FA, Bu, Case.ANY, Ba, _R.FA),
    Row("B21", _R.HA, Har, Case.STATIC, Haa, _R.AAAH),
    Row("B21", _R.HA, Har, Case.DYNAMIC, Bu, _R.PCN),
    Row("B21", _R.HA, Ba, Case.FOR_HAR, Haa, _R.AAAH),
    Row("B21", _R.HA, RegReq, Case.STATIC, RegRep, _R.FA),
    Row("B21", _R.HA, RegReq, Case.DYNAMIC, Bu, _R.PCN),
    Row("B21", _R.HA, Ba, Case.FOR_REQUEST, RegRep, _R.FA),
    Row("B21", _R.HA, Br, Case.CACHED, Bu, _R.PCN),
    Row("B21", _R.HA, Br, Case.UNKNOWN, None, None),
    Row("G25", _R.HA, Har, Case.REFUSED, Haa, _R.AAAH),
    Row("G26", _R.HA, RegReq, Case.REFUSED, RegRep, _R.FA),
    Row("G25", _R.HA, Timer, Case.FOR_HAR, Haa, _R.AAAH),
    Row("G25", _R.HA, Timer, Case.FOR_REQUEST, RegRep, _R.FA),
    Row("G25", _R.HA, Timer, Case.DYNAMIC, Bu, _R.PCN),
    Row("B22", _R.PCN, Bu, Case.ANY, Ba, _R.HA),
    Row("B22", _R.PCN, Timer, Case.ENDING, Br, _R.HA),
)
ROWS = FIG_11 + FIG_21
ANSWERS = {(row.role, row.received, row.case): (row.sends, row.to) for row in ROWS}
"""What is sent and to whom, by role, received message and case."""
