"""Mobile IP for tests: keys, packets written by hand, codecs of the example network's agents, what agents say."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from roamvpn.signalling.messages import (
    Address,
    Ba,
    Br,
    Bu,
    Code,
    InstanceId,
    NodeRole,
    RegRep,
    RegReq,
    ServiceUpdate,
)
from roamvpn.tables.secrets import Secret
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.mobile import Asking, request_packet
from roamvpn.wire.mobileip import MobileIpCodec
from tests.signalled import ALICE, FRANK, TABLES, Bench

if TYPE_CHECKING:
    from roamvpn.signalling.messages import Message

KEY = Secret(b"0123456789abcdef")
HOME = SecurityAssociation(0x1234, KEY, Algorithm.MD5)
AAA = SecurityAssociation(0x4321, Secret(b"fedcba9876543210"), Algorithm.MD5)
IDENT = 0xEC000000_00000000
NAI = b"alice@isp3.example"
PROOF = bytes([32, 20]) + bytes(20)
# type 1, flags 0, lifetime 600, home 203.0.113.5, home agent 192.0.2.31, care-of 192.0.2.21, identification
REQUEST = bytes.fromhex("01 00 0258 cb007105 c000021f c0000215 ec00000000000000")
REPLY = bytes.fromhex("03 00 0258 cb007105 c000021f ec00000000000000")
BINDING_REQUEST = bytes.fromhex("11 000000 cb007105 ec00000000000000")
UPDATE = bytes.fromhex("12 c0 0258 cb007105 c0000215 ec00000000000000")
ACKNOWLEDGE = bytes.fromhex("13 0000 85 cb007105 ec00000000000000")


def asked(**more: object) -> Asking:
    asking = Asking("alice@isp3.example", "203.0.113.5", "192.0.2.31", "192.0.2.21", 600, IDENT)
    return asking._replace(**more)  # type: ignore[arg-type] # fields of it


def codec_of(here: str = "fa21", **keys: bytes) -> MobileIpCodec:
    others = {
        name: SecurityAssociation(0x500, Secret(keys.get(name, pair(here, name)))) for name in TABLES.network.gateways
    }
    return MobileIpCodec(TABLES.network, here, others)


def pair(one: str, other: str) -> bytes:
    return hashlib.sha256(" ".join(sorted((one, other))).encode()).digest()


def entropy(purpose: str, length: int) -> bytes:
    return hashlib.shake_128(purpose.encode()).digest(length)


BENCH = Bench()
FA, HA, PCN = Address(NodeRole.FA, "fa21"), Address(NodeRole.HA, "ha31"), Address(NodeRole.PCN, "pcn41b")
HELD = InstanceId("aaah33;1", 1, 2)
PACKET = request_packet(asked(), HOME, AAA)
BETWEEN: list[tuple[Address, Address, Message]] = [
    (FA, HA, RegReq(ALICE, IDENT, "ha31", 600, "fa21b", None, 5, "fa21", HELD, PACKET)),
    (FA, HA, RegReq(ALICE, 7, "ha31", 600, "fa21b", ServiceUpdate(), 5, "fa21", HELD)),
    (HA, FA, RegRep(ALICE, 7, Code.ACCEPTED, 600, ("fa22", "fa21b"))),
    (HA, PCN, Bu(FRANK, 9, HA, 600, 7, BENCH.information(FRANK).posted(7), ready=True)),
    (HA, PCN, Bu(FRANK, 9, HA, 0, 7)),
    (PCN, HA, Ba(FRANK, 9, PCN, Code.STALE, 7)),
    (PCN, HA, Br(FRANK, PCN, 7)),
    (FA, Address(NodeRole.FA, "fa21b"), Bu(FRANK, 9, FA, 10, 0, BENCH.on_leg(FRANK), ready=True)),
    (FA, Address(NodeRole.FA, "fa21b"), Ba(FRANK, 9, FA, Code.ACCEPTED)),
]
