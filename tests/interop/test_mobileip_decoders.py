"""tshark and scapy, which know nothing of us, read in our packets what we meant; and we read what scapy writes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from scapy.layers.mobileip import MobileIP, MobileIPRRP, MobileIPRRQ

from roamvpn.signalling.messages import Code, RegRep, RegReq, ServiceUpdate
from roamvpn.wire import mobileip_packet as wire
from roamvpn.wire.mobile import refusal_at_home, reply_packet, request_packet
from roamvpn.wire.mobileip_packet import extension_bytes, parse
from tests.mobile_ip import AAA, BETWEEN, HOME, IDENT, NAI, PACKET, asked, codec_of, entropy
from tests.signalled import ALICE

REPLY = reply_packet(RegRep(ALICE, IDENT + 9, Code.ACCEPTED, 300), "203.0.113.5", "192.0.2.31", HOME, IDENT)


class Tshark(NamedTuple):
    """tshark on one Mobile IP message; a field is the list of its values in order of their place."""

    place: Path

    def fields(self, data: bytes, *names: str) -> dict[str, list[str]]:
        asked_for = [part for name in names for part in ("-e", f"mip.{name}")]
        line = self._run(data, "-T", "fields", "-E", "separator=|", *asked_for).rstrip("\n")
        values = [value.split(",") if value else [] for value in line.split("|")]
        return dict(zip(names, values, strict=True))

    def tree(self, data: bytes) -> str:
        return self._run(data, "-V", "-O", "mip")

    def _run(self, data: bytes, *options: str) -> str:
        text, packets = str(self.place / "m.hex"), str(self.place / "m.pcap")
        Path(text).write_text("".join(f"{at:06x} {data[at : at + 16].hex(' ')}\n" for at in range(0, len(data), 16)))
        subprocess.run(["text2pcap", "-q", "-u", "5000,434", text, packets], check=True, capture_output=True)
        command = ["tshark", "-n", "-r", packets, *options]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout


@pytest.fixture
def tshark(tmp_path: Path) -> Tshark:
    return Tshark(tmp_path)


def test_tshark_reads_what_a_mobile_asks(tshark: Tshark) -> None:
    data = request_packet(asked(old_agent="192.0.2.22", update=ServiceUpdate(), answered=77), HOME, AAA)
    found = tshark.fields(data, "type", "flags", "life", "homeaddr", "haaddr", "coa", "nai")
    assert found == {
        "type": ["1"],
        "flags": ["0x00"],
        "life": ["600"],
        "homeaddr": ["203.0.113.5"],
        "haaddr": ["192.0.2.31"],
        "coa": ["192.0.2.21"],
        "nai": [ALICE],
    }
    assert tshark.fields(data, "ext.type")["ext.type"] == ["131", "96", "134", "134", "32", "36"]
    ours = tshark.fields(data, "ext.nvse.vendor_id", "ext.nvse.vendor_type", "ext.nvse.vendor_value")
    assert ours == {
        "ext.nvse.vendor_id": ["32473", "32473"],
        "ext.nvse.vendor_type": ["1", "2"],
        "ext.nvse.vendor_value": ["00", "000000000000004d"],
    }
    proofs = tshark.fields(data, "auth.spi", "auth.auth", "ext.auth.subtype")
    assert [int(spi, 0) for spi in proofs["auth.spi"]] == [HOME.spi, AAA.spi]
    packet = parse(data)
    bodies = [packet.find(wire.MN_HA), packet.find(wire.GENERALISED, wire.MN_AAA)]
    assert proofs["auth.auth"] == [each.body[4:].hex() for each in bodies if each is not None]
    assert proofs["ext.auth.subtype"] == ["1"]


def test_tshark_reads_the_time_in_an_identification(tshark: Tshark) -> None:
    # half a second past the NTP second 3959422976, which is 2025-06-20 15:42:56 UTC
    assert "Jun 20, 2025 15:42:56.500000" in tshark.tree(request_packet(asked(identification=IDENT | 1 << 31), HOME))


def test_tshark_reads_what_home_answers(tshark: Tshark) -> None:
    found = tshark.fields(REPLY, "type", "code", "life", "homeaddr", "haaddr", "nai", "ext.type", "auth.spi")
    assert found == {
        "type": ["3"],
        "code": ["0"],
        "life": ["300"],
        "homeaddr": ["203.0.113.5"],
        "haaddr": ["192.0.2.31"],
        "nai": [ALICE],
        "ext.type": ["131", "32"],
        "auth.spi": [f"0x{HOME.spi:08x}"],
    }


@pytest.mark.parametrize("index", [0, 1, 2])
def test_tshark_reads_the_outside_of_what_agents_tell_each_other(tshark: Tshark, index: int) -> None:
    sender, to, message = BETWEEN[index]
    data = codec_of(sender.name).encode(to, message, entropy)
    found = tshark.fields(data, "type", "nai", "ext.type", "ext.cvse.vendor_id", "ext.cvse.vendor_type")
    assert found["type"] == ["1" if isinstance(message, RegReq) else "3"]
    assert found["nai"] == [message.nai]
    assert found["ext.type"][-2:] == ["38", "34"]
    assert found["ext.cvse.vendor_id"] == ["32473"]
    assert found["ext.cvse.vendor_type"] == ["0x0010"]
    assert "alformed" not in tshark.tree(data)


@pytest.mark.parametrize(
    ("extension", "name"),
    [
        (HOME.authenticated(b"", wire.MN_FA), "Mobile-Foreign Authentication"),
        (HOME.authenticated(b"", wire.FA_HA), "Foreign-Home Authentication"),
        (extension_bytes(wire.CHALLENGE, b"12345678"), "MN-FA Challenge"),
        (bytes.fromhex("601e 0258 c0000216 c0000215 00001234") + bytes(16), ""),
    ],
)
def test_tshark_knows_our_extensions_and_where_they_end(tshark: Tshark, extension: bytes, name: str) -> None:
    data = PACKET[:24] + extension + extension_bytes(wire.NAI, NAI)
    tree = tshark.tree(data)
    assert name in tree
    assert "alformed" not in tree
    assert tshark.fields(data, "ext.type", "nai") == {"ext.type": [str(extension[0]), "131"], "nai": [ALICE]}


def test_scapy_reads_the_same() -> None:
    request = MobileIP(PACKET)[MobileIPRRQ]
    fields = (request.flags, request.lifetime, request.homeaddr, request.haaddr, request.coaddr, request.id)
    assert fields == parse(PACKET).header
    reply = MobileIP(REPLY)[MobileIPRRP]
    assert (reply.code, reply.lifetime, reply.homeaddr, reply.haaddr, reply.id) == parse(REPLY).header


def test_what_scapy_writes_is_understood() -> None:
    layer = MobileIPRRQ(
        flags=0, lifetime=600, homeaddr="203.0.113.5", haaddr="192.0.2.31", coaddr="192.0.2.21", id=IDENT
    )
    data = HOME.authenticated(bytes(MobileIP(type=1) / layer) + extension_bytes(wire.NAI, NAI), wire.MN_HA)
    request = codec_of().decode(data, "203.0.113.5").message
    assert request == RegReq(ALICE, IDENT, "ha31", 600, packet=data)
    assert refusal_at_home(request, HOME, IDENT) is None
