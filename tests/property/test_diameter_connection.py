"""Whatever a peer sends to a live node, the next peer is served."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from roamvpn.wire.diameter_frames import peek_header
from tests.diameter_peers import AAAF, AMR, FA, LONG, Peer, raw_peer, waits_for

header_like = st.builds(
    lambda version, length, flags, command, application, rest: b"".join(
        [bytes([version]), length.to_bytes(3), bytes([flags]), command.to_bytes(3), application.to_bytes(4), rest]
    ),
    st.sampled_from((0, 1, 2)),
    st.sampled_from((0, 4, 20, 24, 28, 64, 0xFFFC, 0xFFFFFF)),
    st.integers(0, 255),
    st.sampled_from((257, 258, 260, 262, 280, 282)),
    st.sampled_from((0, 2, 4)),
    st.binary(max_size=60),
)
pieces = st.lists(st.one_of(st.binary(max_size=80), header_like, st.just(AMR), st.just(AMR[:33])), max_size=5)


@settings(max_examples=60)
@given(pieces, st.booleans())
def test_a_node_survives_any_octets(sent: list[bytes], greets: bool) -> None:
    async def test() -> None:
        async with Peer("aaah33", "isp3.example", waits_for(AAAF), waits_for(FA)) as aaah:
            async with raw_peer(aaah.port, AAAF, greets=greets) as hostile:
                for piece in sent:
                    hostile.send(piece)
                hostile.writer.write_eof()
                await hostile.ended()
            async with raw_peer(aaah.port, FA) as other:
                other.ask(other.base.watchdog_request(), 1)
                assert peek_header(await other.read()).hop_by_hop == 1
            assert not any(connection.pending for connection in aaah.node._connections)

    asyncio.run(asyncio.wait_for(test(), LONG))
