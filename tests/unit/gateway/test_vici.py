"""The client of vici with a real charon, and with one that answers nonsense."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from roamvpn.gateway import scratch
from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.vici import Vici, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_RESPONSE, _UNKNOWN, _CONFIRM, _EVENT = 1, 2, 5, 7


@pytest.fixture(scope="module")
def charon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A charon of our own, in a network of its own."""
    home = tmp_path_factory.mktemp("charon")
    (home / "strongswan.conf").write_text(
        "charon-systemd {\n port = 0\n port_nat_t = 0\n journal { default = -1 }\n"
        f" plugins {{ vici {{ socket = unix://{home}/vici }} }}\n}}\n"
    )
    with subprocess.Popen(
        ["unshare", "--net", scratch._DAEMON],
        env={**os.environ, "STRONGSWAN_CONF": str(home / "strongswan.conf")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        scratch._await(process, home / "vici")
        yield str(home / "vici")
        process.terminate()


def _connection(number: int) -> dict[str, object]:
    return {
        "version": "2",
        "remote_addrs": [f"192.0.2.{number}"],
        "local": {"auth": "psk", "id": "fa21"},
        "remote": {"auth": "psk", "id": f"ha{number}"},
        "children": {"c": {"mode": "tunnel", "local_ts": ["10.0.0.0/8"], "remote_ts": ["10.1.0.0/16", "10.2.0.0/16"]}},
    }


def test_what_is_loaded_is_listed_as_it_was_sent(charon: str) -> None:
    with Vici(charon) as vici:
        assert vici.request("version")["daemon"] == b"charon-systemd"
        for number in (1, 2):
            vici.request("load-conn", {f"rv-{number}": _connection(number)})
        listed = {name: node for event in vici.stream("list-conns", "list-conn") for name, node in event.items()}
        for number in (1, 2):
            vici.request("unload-conn", {"name": f"rv-{number}"})
        assert list(vici.stream("list-conns", "list-conn")) == []
    assert set(listed) == {"rv-1", "rv-2"}
    for number in (1, 2):
        node = listed[f"rv-{number}"]
        assert isinstance(node, dict)
        assert node["remote_addrs"] == [f"192.0.2.{number}".encode()]
        assert isinstance(node["children"], dict)
        child = node["children"]["c"]
        assert isinstance(child, dict)
        assert child["remote-ts"] == [b"10.1.0.0/16", b"10.2.0.0/16"]


def test_charons_own_words_are_the_error(charon: str) -> None:
    with Vici(charon) as vici:
        with pytest.raises(GatewayError, match="unload-conn: unload: connection 'rv-none' not found"):
            vici.request("unload-conn", {"name": "rv-none"})
        with pytest.raises(GatewayError, match="does not know the command nonsense"):
            vici.request("nonsense")
        with pytest.raises(GatewayError, match="does not know the event nonsense"):
            list(vici.stream("list-conns", "nonsense"))
        # and the connection is still good for more
        assert vici.request("version")["daemon"] == b"charon-systemd"


def test_what_no_message_can_carry_is_refused_before_it_is_sent(charon: str) -> None:
    with Vici(charon) as vici:
        with pytest.raises(GatewayError, match="a value of 65536 bytes is too large"):
            vici.request("load-cert", {"type": "X509_CRL", "data": b"x" * 65536})
        with pytest.raises(GatewayError, match="a name of 256 bytes is too large"):
            vici.request("load-conn", {"x" * 256: {}})
        with pytest.raises(GatewayError, match=r"a message of .* bytes is too large"):
            vici.request("load-conn", {"x": {"list": [b"x" * 65535] * 9}})
        assert vici.request("version")["daemon"] == b"charon-systemd"


def test_nobody_at_the_socket_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"does not answer at .*: No such file"):
        Vici(str(tmp_path / "vici"))


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Callable[[list[bytes]], str]]:
    """Something at a socket that answers each packet with the next of these bytes, then closes."""
    listening = socket.socket(socket.AF_UNIX)
    threads: list[threading.Thread] = []

    def serve(given: list[bytes]) -> None:
        peer, _ = listening.accept()
        with peer:
            for answer in given:
                peer.recv(1 << 16)
                peer.sendall(answer)

    def start(given: list[bytes]) -> str:
        path = str(tmp_path / "vici")
        listening.bind(path)
        listening.listen()
        threads.append(threading.Thread(target=serve, args=(given,)))
        threads[0].start()
        return path

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    listening.close()


def _packet(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("!IB", len(body) + 1, kind) + body


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed the connection"),
        (b"\x00\x00", "closed the connection"),
        (_packet(_RESPONSE, b"\x03\x01a\x00\x05no"), "cut off"),
        (_packet(_RESPONSE, b"\x03\x01"), "cut off"),
        (_packet(_RESPONSE, b"\x01\x01a" * 5000), "nested too deep"),
        (_packet(_RESPONSE, b"\x03\x01\xff\x00\x00"), "decode"),
        (_packet(_CONFIRM), "unexpected packet 5"),
        (struct.pack("!I", 0), "a packet of 0 bytes"),
        (struct.pack("!I", 1 << 31), "a packet of 2147483648 bytes"),
        (_packet(_RESPONSE, encode({"success": "no"})), "no reason given"),
        (_packet(_RESPONSE, encode({"success": "no", "errmsg": b"\xff bad"})), "\ufffd bad"),
    ],
)
def test_an_answer_that_is_none_is_an_error(answers: Callable[[list[bytes]], str], answer: bytes, reason: str) -> None:
    with Vici(answers([answer])) as vici, pytest.raises(GatewayError, match=reason) as caught:
        vici.request("version")
    assert caught.value.step == "charon"


@pytest.mark.parametrize("event", [b"", b"\x09list", b"\x09list-conn\x03", b"\x09list-conn\x07"])
def test_an_event_that_is_none_is_an_error(answers: Callable[[list[bytes]], str], event: bytes) -> None:
    path = answers([_packet(_CONFIRM), _packet(_EVENT, event)])
    with Vici(path) as vici, pytest.raises(GatewayError):
        list(vici.stream("list-conns", "list-conn"))


def test_events_of_others_are_passed_over(answers: Callable[[list[bytes]], str]) -> None:
    other = _packet(_EVENT, b"\x03log" + encode({"msg": "hello"}))
    ours = _packet(_EVENT, b"\x09list-conn" + encode({"rv-x": {}}))
    path = answers([other + _packet(_CONFIRM), other + ours + _packet(_RESPONSE), other + _packet(_CONFIRM)])
    with Vici(path) as vici:
        assert list(vici.stream("list-conns", "list-conn")) == [{"rv-x": {}}]


def test_an_answer_that_does_not_come_is_not_waited_for_forever(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "vici"))
        listening.listen()
        with (
            Vici(str(tmp_path / "vici"), timeout=0.05) as vici,
            pytest.raises(GatewayError, match="takes too long to answer"),
        ):
            vici.request("version")


def test_numbers_and_lists_are_encoded_as_the_protocol_has_them() -> None:
    # from the README of charon's vici plugin, "Message format", shortened
    message = {"key1": "value1", "section1": {"sub-section": {"key2": "value2"}, "list1": ["item1", "item2"]}}
    raw = (
        b"\x03\x04key1\x00\x06value1"
        b"\x01\x08section1"
        b"\x01\x0bsub-section\x03\x04key2\x00\x06value2\x02"
        b"\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06\x02"
    )
    assert encode(message) == raw
    assert decode(raw) == {
        "key1": b"value1",
        "section1": {"sub-section": {"key2": b"value2"}, "list1": [b"item1", b"item2"]},
    }
    assert encode({"uniqueid": 7}) == b"\x03\x08uniqueid\x00\x017"
