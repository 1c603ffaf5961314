"""Registrations through real AAA daemons on real sockets: foreign agent, AAAF, AAAH, home agent (Figs 4 to 13)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from roamvpn.policy.keys import leg_key
from roamvpn.policy.mobility_keys import Verifier, mobile_key, mobile_spi
from roamvpn.policy.paths import SegmentKind
from roamvpn.signalling.messages import Address, Ama, Amr, InstanceId, NodeRole, RegReq, Result, ServiceUpdate
from roamvpn.tables.problems import InputError
from roamvpn.tables.secrets import Secret
from roamvpn.wire import diameter_avps as a
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.diameter import DiameterCodec
from roamvpn.wire.diameter_frames import pack_avp, pack_message, peek_header
from roamvpn.wire.mobile import Asking, request_packet
from tests.aaa_servers import AAAF23, AAAH33, FA21, FA22, HA31, ForeignAgent, Network, daemon, write_site
from tests.diameter import NETWORK
from tests.diameter_peers import LONG, Authority, connects_to, raw_peer, waits_for
from tests.documents import Documents
from tests.signalled import ALICE, FRANK

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

PACKET = bytes(range(100))


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 3 * LONG))


def test_an_initial_registration_goes_to_the_home_agent_and_back(tmp_path: Path) -> None:  # E1, A3, B17, B18, C8, C12
    async def test() -> None:
        async with Network(tmp_path) as net:
            net.ha.packet, net.ha.old_fas = b"reply", ("fa22",)
            ama = await net.fa.register("aaaf23", ALICE, 1, packet=PACKET)
            har = await net.ha.next()
            # the mobile's own packets come through as they were
            assert har.request.packet == PACKET
            assert ama.reply is not None
            assert (ama.reply.packet, ama.old_fas) == (b"reply", ("fa22",))
            assert har.request.care_of == "fa21"
            kinds = [segment.kind for segment in har.information.segments]
            assert kinds == [SegmentKind.ACCESS, SegmentKind.ENTERPRISE]
            assert ama.information is not None
            assert [segment.kind for segment in ama.information.segments] == [SegmentKind.ACCESS]
            assert ama.authorized == 3600

    run(test())


def test_each_gets_as_much_of_the_key_as_it_may_know(tmp_path: Path) -> None:  # C5, C12
    async def test() -> None:
        async with Network(tmp_path) as net:
            ama = await net.fa.register("aaaf23", FRANK, 1)
            har = await net.ha.next()
            (root,) = [each.keys for each in har.information.segments]
            entry = net.visited.runtime.node.tables[NodeRole.AAAF][FRANK]
            (of_domain,) = [each.keys for each in entry.information.segments]
            assert ama.information is not None
            (segment,) = ama.information.segments
            assert segment.keys == leg_key(of_domain, "fa21", "pcn41b", 0)
            assert len({root, of_domain, segment.keys}) == 3

    run(test())


def test_a_move_within_the_domain_is_answered_without_home(tmp_path: Path) -> None:  # E2.1, B17
    async def test() -> None:
        async with Network(tmp_path) as net:
            first = await net.fa.register("aaaf23", ALICE, 1)
            await net.home.diameter.node.stop()
            ama = await net.fa_b.register("aaaf23", ALICE, 2, "fa21")
            assert ama.result is Result.SUCCESS
            assert ama.reply is None
            assert first.information is not None
            assert ama.information is not None
            assert ama.information.foreign_agent == "fa21b"
            assert ama.information.session_id == first.information.session_id

    run(test())


def test_a_refresh_and_a_service_update_and_a_deregistration(tmp_path: Path) -> None:  # C11, E7.2, F10
    async def test() -> None:
        async with Network(tmp_path) as net:
            first = await net.fa.register("aaaf23", ALICE, 1)
            assert first.information is not None
            held = InstanceId.of(first.information)
            again = await net.fa.register("aaaf23", ALICE, 2, "fa21", held=held, answered=1)
            assert again.reply is None
            updated = await net.fa.register("aaaf23", ALICE, 3, "fa21", update=ServiceUpdate(), answered=2)
            assert updated.information is not None
            assert updated.information.version == 3
            net.fa.ask("aaaf23", RegReq(ALICE, 4, "ha31", 0))
            gone = await net.fa.next()
            assert gone.information is None
            assert net.home.runtime.node.tables[NodeRole.AAAH][ALICE].information is None

    run(test())


def test_everything_the_same_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = {name: authority.files(name) for name in (FA21, "fa21b.isp2.example", AAAF23, AAAH33, HA31)}

    async def test() -> None:
        async with Network(tmp_path, tls) as net:
            ama = await net.fa.register("aaaf23", ALICE, 1)
            assert ama.result is Result.SUCCESS
            assert all(each.encrypted for each in net.home.diameter.node._open.values())
            # certificates that are renewed are taken up without a restart
            authority.files(AAAH33)
            await net.home.reload()
            assert (await net.fa.register("aaaf23", FRANK, 1)).result is Result.SUCCESS

    run(test())


def test_a_user_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with Network(tmp_path) as net:
            assert (await net.fa.register("aaaf23", "nobody@isp3.example", 1)).result is Result.AUTHENTICATION_REJECTED
            assert (await net.fa.register("aaaf23", "x@nowhere.example", 1)).result is Result.UNABLE_TO_DELIVER

    run(test())


def test_without_home_a_registration_is_refused_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with Network(tmp_path) as net:
            await net.home.diameter.node.stop()
            assert (await net.fa.register("aaaf23", ALICE, 1)).result is Result.UNABLE_TO_DELIVER

    run(test())


def test_without_its_home_agent_a_registration_is_refused_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with Network(tmp_path) as net:
            await net.ha.transport.node.stop()
            await net.home.diameter.node.disconnected(HA31)
            assert (await net.fa.register("aaaf23", ALICE, 1)).result is Result.HA_NOT_AVAILABLE

    run(test())


def test_a_home_agent_that_says_nothing_ends_in_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with Network(tmp_path) as net:
            net.ha.quiet = True
            assert (await net.fa.register("aaaf23", ALICE, 1)).result is Result.HA_NOT_AVAILABLE

    run(test())


def test_a_session_outlives_a_restart_of_its_home_server(tmp_path: Path) -> None:
    async def test() -> None:
        async with Network(tmp_path) as net:
            first = await net.fa.register("aaaf23", ALICE, 1)
            assert first.information is not None
        async with Network(tmp_path) as net:
            again = await net.fa.register("aaaf23", ALICE, 2)
            assert again.information is not None
            assert again.information.session_id == first.information.session_id

    run(test())


# the mobile's own word


def mobiles_packet(root: Secret, seq: int) -> bytes:
    home = SecurityAssociation(mobile_spi(Verifier.HOME_AGENT), Secret(bytes(32)), Algorithm.MD5)
    aaa = SecurityAssociation(mobile_spi(Verifier.AAAH), mobile_key(root, ALICE), Algorithm.MD5)
    asking = Asking(ALICE, "203.0.113.5", "192.0.2.31", "192.0.2.21", 60, seq)
    return request_packet(asking, home, aaa)


def test_a_mobile_is_who_it_says(tmp_path: Path) -> None:  # RFC 4721
    root = Secret(b"r" * 32)
    (tmp_path / "keys.yml").touch(0o600)
    (tmp_path / "keys.yml").write_text(f"mobiles: '{root.hex()}'\n")

    async def test() -> None:
        async with Network(tmp_path, keys=str(tmp_path / "keys.yml")) as net:
            packet = mobiles_packet(root, 5)
            assert (await net.fa.register("aaaf23", ALICE, 5, packet=packet)).result is Result.SUCCESS
            assert (await net.ha.next()).request.packet == packet
            # another key; another user's packet; another registration's; no packet of a mobile at all
            for nai, seq, forged in (
                (ALICE, 6, mobiles_packet(Secret(b"x" * 32), 6)),
                (FRANK, 6, mobiles_packet(root, 6)),
                (ALICE, 7, mobiles_packet(root, 6)),
                (ALICE, 8, PACKET),
            ):
                ama = await net.fa.register("aaaf23", nai, seq, packet=forged)
                assert ama.result is Result.AUTHENTICATION_REJECTED
            assert net.ha.received.empty()
            # what RADIUS has said of him has no packet
            assert (await net.fa.register("aaaf23", ALICE, 9)).result is Result.SUCCESS

    run(test())


def test_a_keys_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.yml").write_text(f"mobiles: '{'00' * 32}'\n")
    (tmp_path / "keys.yml").chmod(0o640)
    with pytest.raises(InputError, match="others may read it"):
        daemon(tmp_path, "aaah33", [], keys=str(tmp_path / "keys.yml"))


# tables


def test_a_changed_database_is_taken_up(tmp_path: Path) -> None:  # E7.1
    async def test() -> None:
        async with Network(tmp_path) as net:
            before = await net.fa.register("aaaf23", ALICE, 1)
            documents = Documents()
            documents.records = [each for each in documents.records if each["nai"] != ALICE]
            write_site(tmp_path / "site", documents)
            assert await net.home.reload()
            after = await net.fa.register("aaaf23", ALICE, 2, update=ServiceUpdate())
            assert before.information is not None
            assert before.information.segments
            assert after.information is not None
            assert after.information.segments == ()

    run(test())


def test_tables_that_do_not_hold_change_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with Network(tmp_path) as net:
            (tmp_path / "site" / "vpn_database.yml").write_text("vpn_database: [{nai: 3}]\n")
            assert not await net.home.reload()
            assert (await net.fa.register("aaaf23", ALICE, 1)).result is Result.SUCCESS
            documents = Documents()
            documents.network["gateways"]["fa21"]["address"] = "192.0.2.121"
            write_site(tmp_path / "site", documents)
            assert not await net.home.reload()
            assert (await net.fa.register("aaaf23", FRANK, 1)).result is Result.SUCCESS

    run(test())


def test_a_database_that_cannot_be_read_refuses_new_sessions_until_it_is_back(tmp_path: Path) -> None:  # G25
    async def test() -> None:
        async with Network(tmp_path) as net:
            assert (await net.fa.register("aaaf23", ALICE, 1)).result is Result.SUCCESS
            path = tmp_path / "site" / "vpn_database.yml"
            path.rename(path.with_suffix(".away"))
            assert not await net.home.reload()
            assert (await net.fa.register("aaaf23", FRANK, 1)).result is Result.UNABLE_TO_COMPLY
            # a session that is known goes on
            assert (await net.fa.register("aaaf23", ALICE, 2)).result is Result.SUCCESS
            path.with_suffix(".away").rename(path)
            assert await net.home.reload()
            assert (await net.fa.register("aaaf23", FRANK, 2)).result is Result.SUCCESS

    run(test())


def test_a_foreign_server_reads_the_network_and_nothing_else(tmp_path: Path) -> None:  # A4, G6
    async def test() -> None:
        site = write_site(tmp_path / "site")
        for path in site.iterdir():
            if path.name != "network.yml":
                path.unlink()
        visited = daemon(tmp_path, "aaaf23", [waits_for(FA21)])
        assert visited.database is None
        await visited.start()
        await visited.stop()

    run(test())


# status


def test_status_and_metrics_are_told_on_a_socket_of_ours(tmp_path: Path) -> None:
    async def test() -> None:
        async with Network(tmp_path) as net:
            await net.fa.register("aaaf23", ALICE, 1)
            path = net.home.setup.socket
            assert path.stat().st_mode & 0o777 == 0o660
            connector = aiohttp.UnixConnector(str(path))
            async with aiohttp.ClientSession("http://aaa", connector=connector) as session:
                async with session.get("/v1/status") as answer:
                    found = await answer.json()
                async with session.get("/metrics") as answer:
                    text = await answer.text()
            assert found["diameter_peers"] == [AAAF23, HA31]
            assert found["entries"] == {"aaaf": 0, "aaah": 1}
            assert 'roamvpn_messages_received_total{message="AMR"} 1.0' in text
            assert "roamvpn_diameter_peers 2.0" in text

    run(test())


# who may say what


def claimed(origin: str, *records: str, relay: str | None = None) -> bytes:
    """An AMR of an origin, and perhaps relayed, with these Route-Records more."""
    codec = DiameterCodec(NETWORK, "fa21")
    raw = codec.request(Amr(FRANK, 9, origin, RegReq(FRANK, 9, "ha31", 60), relay), "aaah33")
    more = [pack_avp(a.ROUTE_RECORD.code, each.encode()) for each in records]
    return pack_message(peek_header(raw), raw[20:] + b"".join(more))


@pytest.mark.parametrize(
    ("peer", "raw"),
    [
        # another foreign agent
        (FA21, claimed("fa21b")),
        # as if it were a relay
        (FA21, claimed("fa21b", "fa21b.isp2.example")),
        (AAAF23, claimed("fa22", "aaaf23b.isp2b.example", relay="aaaf23b")),
        # it would be given the domain's key
        (FA21, claimed("fa21", relay="aaaf23")),
        # a domain's server for an agent of another domain
        (AAAF23, claimed("fa22", relay="aaaf23")),
        # without saying that it hands it on
        (AAAF23, claimed("fa21")),
        # home server as relay of a visited domain's agent
        (AAAF23, claimed("fa21", relay="aaaf23b")),
    ],
)
def test_nobody_speaks_for_another(tmp_path: Path, peer: str, raw: bytes) -> None:  # C6
    async def test() -> None:
        home = daemon(tmp_path, "aaah33", [waits_for(AAAF23), waits_for(FA21)])
        await home.start()
        try:
            async with raw_peer(home.diameter.node.ports[0], peer) as hostile:
                hostile.ask(raw)
                assert a.Reader(await hostile.read(), a.ENTERPRISE).one(a.RESULT_CODE) == 5003
            assert home.runtime.node.tables[NodeRole.AAAH] == {}
        finally:
            await home.stop()

    run(test())


def test_a_relay_that_is_no_node_speaks_for_whom_it_had_it_from(tmp_path: Path) -> None:
    async def test() -> None:
        relay = "relay.transit.example"
        home = daemon(tmp_path, "aaah33", [waits_for(relay)])
        await home.start()
        try:
            async with raw_peer(home.diameter.node.ports[0], relay) as peer:
                for records, result in (
                    # it had it from the agent, which may not name a relay; from a stranger; from the relay
                    ((FA21,), 5003),
                    ((AAAF23, FA22), 5003),
                    ((AAAF23, "evil.transit.example"), 5003),
                    ((AAAF23,), 4006),
                ):
                    peer.ask(claimed("fa21", *records, relay="aaaf23"))
                    assert a.Reader(await peer.read(), a.ENTERPRISE).one(a.RESULT_CODE) == result
        finally:
            await home.stop()

    run(test())


def test_an_agent_of_another_domain_is_not_served_by_this_one(tmp_path: Path) -> None:
    async def test() -> None:
        visited = daemon(tmp_path, "aaaf23", [waits_for(FA22)])
        await visited.start()
        try:
            at = connects_to(AAAF23, visited.diameter.node.ports[0], "*")
            async with ForeignAgent("fa22", at) as other:
                await other.transport.node.connected(AAAF23)
                assert (await other.register("aaaf23", ALICE, 1)).result is Result.AUTHENTICATION_REJECTED
        finally:
            await visited.stop()

    run(test())


def test_an_answer_that_nobody_waits_for_is_dropped_and_counted(tmp_path: Path) -> None:
    async def test() -> None:
        async with Network(tmp_path) as net:
            stray = Ama(ALICE, 5, "fa21", Result.SUCCESS)
            net.visited.diameter.send(Address(NodeRole.AAAF, "aaaf23"), Address(NodeRole.FA, "fa21"), stray)
            value = net.visited.metrics.registry.get_sample_value(
                "roamvpn_diameter_dropped_total", {"why": "answer that nobody waits for"}
            )
            assert value == 1

    run(test())
