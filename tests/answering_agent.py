"""A foreign agent and a home agent in one, for terminals in a laboratory: answers as it was told to.

`python -m tests.answering_agent PORT ACTION…` does one action for each request, the last one for all that follow, and
prints what was asked: `accept`, `refuse`, `drop`, `forge`, or `judge:S`, which judges by a clock that is S s fast.
"""

from __future__ import annotations

import json
import socket
import sys

from roamvpn.daemon.clock import Clock
from roamvpn.signalling.messages import Code, RegRep, RegReq
from roamvpn.tables.secrets import Secret
from roamvpn.wire.mobile import refusal_at_home, reply_packet
from tests.mobile_ip import HOME, codec_of


def answer(action: str, request: RegReq) -> bytes | None:
    """The reply to one request, if there is one."""
    name, _, fast = action.partition(":")
    now, code, association = Clock().ntp(), Code.ACCEPTED, HOME
    if name == "drop":
        return None
    if name == "refuse":
        code = Code.HA_UNSPECIFIED
    elif name == "forge":
        association = HOME._replace(key=Secret(b"somebody else's!"))
    elif name == "judge":
        now += int(fast) << 32
        code = refusal_at_home(request, HOME, now) or code
    lifetime = request.lifetime if code is Code.ACCEPTED else 0
    reply = RegRep(request.nai, request.seq, code, lifetime)
    return reply_packet(reply, "203.0.113.5", "192.0.2.31", association, now)


def main(port: int, actions: list[str]) -> None:
    """Serve until killed."""
    codec = codec_of("fa21")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("0.0.0.0", port))  # noqa: S104 - in a namespace of its own
        print("ready", flush=True)  # noqa: T201 - read by the test
        while True:
            data, peer = agent.recvfrom(8192)
            request = codec.decode(data, peer[0]).message
            assert isinstance(request, RegReq)
            told = {name: value for name, value in request._asdict().items() if name != "packet"}
            print(json.dumps(told), flush=True)  # noqa: T201
            reply = answer(actions.pop(0) if len(actions) > 1 else actions[0], request)
            if reply is not None:
                agent.sendto(reply, peer)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
