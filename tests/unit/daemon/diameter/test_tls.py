"""Peers show each other certificates, and are who those say (RFC 6733 section 13)."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from diameter.message import Message

from roamvpn.daemon.diameter.settings import Listen, TlsFiles
from roamvpn.tables.problems import RoamvpnError
from roamvpn.wire.diameter_frames import peek_header
from tests.diameter_peers import AAAF, AAAH, HOST, LONG, QUICK, Authority, Peer, connects_to, raw_peer, waits_for

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from roamvpn.daemon.diameter.settings import Limits

STRANGER = "stranger.isp9.example"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "other")


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, LONG * 2))


def home(authority: Authority, limits: Limits = QUICK) -> Peer:
    return Peer("aaah33", "isp3.example", waits_for(AAAF, tls=True), tls=authority.files(AAAH), limits=limits)


def test_peers_with_certificates_talk(authority: Authority) -> None:
    async def test() -> None:
        async with home(authority) as aaah:
            peer = connects_to(AAAH, aaah.port, tls=True)
            async with Peer("aaaf23", "isp2.example", peer, listen=(), tls=authority.files(AAAF)) as aaaf:
                await asyncio.gather(aaaf.node.connected(AAAH), aaah.node.connected(AAAF))
                (connection,) = aaaf.node._open.values()
                assert connection.encrypted
                assert connection.names() == {AAAH}

    run(test())


def test_a_peer_whose_certificate_has_another_name_is_refused(authority: Authority) -> None:
    async def test() -> None:
        async with home(authority) as aaah:
            context = authority.files(STRANGER).context(server=False)
            async with raw_peer(aaah.port, AAAF, context, greets=False) as peer:
                answer = await peer.greet()
                assert Message.from_bytes(answer).result_code == 3010
                assert peek_header(answer).is_error
                assert await peer.ended() == b""
            assert aaah.node.peers == ()

    run(test())


def test_we_do_not_talk_to_a_server_whose_certificate_has_another_name(authority: Authority) -> None:
    async def test() -> None:
        async with Peer("aaah33", "isp3.example", waits_for(AAAF, tls=True), tls=authority.files(STRANGER)) as impostor:
            peer = connects_to(AAAH, impostor.port, tls=True)
            async with Peer("aaaf23", "isp2.example", peer, listen=(), tls=authority.files(AAAF)) as aaaf:
                await impostor.node.connected(AAAF)
                await impostor.node.disconnected(AAAF)
                assert aaaf.node.peers == ()

    run(test())


def test_a_peer_without_a_certificate_is_refused(authority: Authority) -> None:
    async def test() -> None:
        async with home(authority) as aaah:
            context = ssl.create_default_context(cafile=str(authority.ca))
            context.check_hostname = False
            await refused(aaah, context)

    run(test())


def test_a_peer_of_another_authority_is_refused(authority: Authority, other_authority: Authority) -> None:
    async def test() -> None:
        async with home(authority) as aaah:
            files = other_authority.files(AAAF).model_copy(update={"ca": str(authority.ca)})
            await refused(aaah, files.context(server=False))

    run(test())


async def refused(aaah: Peer, context: ssl.SSLContext) -> None:
    """TLS 1.3 tells the client only after its own half of the handshake."""
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        async with raw_peer(aaah.port, AAAF, context):
            pass
    assert aaah.node.peers == ()


def test_plain_tcp_where_tls_is_wanted_is_refused(authority: Authority) -> None:
    async def test() -> None:
        async with home(authority) as aaah, raw_peer(aaah.port, AAAF, greets=False) as peer:
            peer.ask(peer.base.capabilities_request(bytes(4)))
            assert b"aaah33" not in await peer.ended()

    run(test())


def test_a_peer_that_is_to_talk_tls_may_not_come_to_the_plain_listener(authority: Authority) -> None:
    async def test() -> None:
        listen = [Listen(host=HOST, port=0, tls=False)]
        peers = waits_for(AAAF, tls=True)
        async with (
            Peer("aaah33", "isp3.example", peers, listen=listen, tls=authority.files(AAAH)) as aaah,
            raw_peer(aaah.port, AAAF, greets=False) as peer,
        ):
            assert Message.from_bytes(await peer.greet()).result_code == 3010

    run(test())


def test_who_connects_and_never_begins_tls_holds_a_place_for_so_long_only(authority: Authority) -> None:
    async def test() -> None:
        async with home(authority, QUICK._replace(handshake=0.1, connections=1)) as aaah:
            async with raw_peer(aaah.port, AAAF, greets=False) as mute:
                assert await mute.ended() == b""
            async with raw_peer(aaah.port, AAAF, authority.files(AAAF).context(server=False)):
                await aaah.node.connected(AAAF)

    run(test())


def test_files_that_do_not_hold_are_named(authority: Authority, tmp_path: Path) -> None:
    files = authority.files(AAAF)
    with pytest.raises(RoamvpnError, match=r"No such file.*missing\.pem"):
        files.model_copy(update={"ca": str(tmp_path / "missing.pem")}).context(server=True)
    broken = tmp_path / "broken.pem"
    broken.write_text("no pem")
    with pytest.raises(RoamvpnError, match="TLS"):
        files.model_copy(update={"ca": str(broken)}).context(server=True)
    other = authority.files(STRANGER)
    with pytest.raises(RoamvpnError, match="KEY_VALUES_MISMATCH"):
        files.model_copy(update={"key": other.key}).context(server=True)
    with pytest.raises(ValueError, match="pattern"):
        TlsFiles(certificate="relative.pem", key="/k", ca="/c")
