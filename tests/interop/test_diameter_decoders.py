"""tshark reads our Diameter messages as RFC 6733 and RFC 4004 have them, without a complaint."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from roamvpn.signalling.messages import RegRep
from roamvpn.tables.secrets import Secret
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.diameter import DiameterCodec
from roamvpn.wire.diameter_avps import ENTERPRISE
from roamvpn.wire.diameter_base import BaseCodec
from roamvpn.wire.diameter_frames import DiameterError, pack_avp
from roamvpn.wire.mobile import Asking, reply_packet, request_packet
from tests.diameter import NETWORK, asked_of
from tests.registrations import ama_of, amr_of, haa_of, har_of
from tests.signalled import ALICE, Bench

if TYPE_CHECKING:
    from pathlib import Path

KEY = SecurityAssociation(0x1234, Secret(bytes(32)), Algorithm.MD5)
REQUEST = request_packet(Asking(ALICE, "203.0.113.5", "192.0.2.31", "192.0.2.21", 60, 7), KEY, KEY)
AMR = DiameterCodec(NETWORK, "aaaf23").request(amr_of(ALICE, 7, packet=REQUEST), "aaah33", 9)
HOME, HOME_AGENT = DiameterCodec(NETWORK, "aaah33"), DiameterCodec(NETWORK, "ha31")
BASE = BaseCodec("aaah33.isp3.example", "isp3.example", 2, ENTERPRISE, 1)


def messages() -> dict[str, tuple[bytes, list[str]]]:
    """By name: the bytes, and what must be read in them."""
    bench = Bench()
    har = har_of(bench.information(ALICE), 7)
    haa = haa_of(ALICE, 7)
    reply = reply_packet(RegRep(ALICE, 7, haa.reply.code, 60), "203.0.113.5", "192.0.2.31", KEY, 7)
    haa = haa._replace(reply=haa.reply._replace(packet=reply))
    ama = ama_of(bench, ALICE, 7, "fa21", "fa22")
    cer = BASE.capabilities_request(bytes((192, 0, 2, 33)))
    refused = DiameterError(5001, "unknown", pack_avp(4711, b"x", vendor=4242))
    return {
        "AMR": (
            AMR,
            ["Origin-Host: fa21.isp2.example", "MIP-Home-Agent-Host", "MIP-MN-AAA-SPI: 4660", "MIP-Reg-Request",
             "MIP-Originating-Foreign-AAA", "Route-Record: fa21.isp2.example", f"User-Name: {ALICE}"],
        ),
        "HAR": (HOME.request(har, "ha31"), ["Destination-Host: ha31.isp3.example", "MIP-Mobile-Node-Address"]),
        "HAA": (HOME_AGENT.answer(haa, asked_of(haa)), ["MIP-Reg-Reply", "DIAMETER_SUCCESS"]),
        "AMA": (HOME.answer(ama, asked_of(ama)), ["Authorization-Lifetime: 120", "DIAMETER_SUCCESS"]),
        "CER": (cer, ["Auth-Application-Id: Mobile IPv4 Application", "Product-Name: roamvpn"]),
        "CEA": (BASE.capabilities_answer(cer, bytes((192, 0, 2, 33))), ["DIAMETER_SUCCESS"]),
        "DWR": (BASE.watchdog_request(), ["Origin-State-Id: 1"]),
        "DPR": (BASE.disconnect_request(), ["Disconnect-Cause: REBOOTING"]),
        "refusal": (HOME.refusal(AMR, refused), ["DIAMETER_AVP_UNSUPPORTED", "Failed-AVP"]),
    }  # fmt: skip


@pytest.mark.parametrize("name", messages())
def test_tshark_reads_it(tmp_path: Path, name: str) -> None:
    raw, wanted = messages()[name]
    dump, capture = tmp_path / "message.txt", tmp_path / "message.pcap"
    dump.write_text("000000 " + raw.hex(" ") + "\n")
    subprocess.run(["text2pcap", "-q", "-T", "40000,3868", dump, capture], check=True, capture_output=True)
    done = subprocess.run(["tshark", "-r", capture, "-V", "-O", "diameter"], check=True, capture_output=True, text=True)
    for each in wanted:
        assert each in done.stdout, done.stdout
    complaints = [line.strip() for line in done.stdout.splitlines() if "Expert Info" in line or "Malformed" in line]
    # the enterprise's AVPs are in no dictionary
    assert [each for each in complaints if "Warning/Undecoded" not in each] == []
