"""Diameter messages for tests: drawn ones, and those of registrations on the example network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from roamvpn.policy.information import VpnInformation
from roamvpn.policy.paths import Segment, SegmentKind
from roamvpn.signalling.messages import (
    Ama,
    Amr,
    Code,
    FrontEnd,
    Haa,
    Har,
    InstanceId,
    RegRep,
    RegReq,
    Result,
    ServiceUpdate,
)
from roamvpn.tables.secrets import ProfileKeys, Secret
from roamvpn.tables.types import Prefix, Security, Share
from roamvpn.wire.diameter import APPLICATION, Asked
from roamvpn.wire.diameter_avps import SESSION_ID, Writer
from roamvpn.wire.diameter_frames import Header
from tests.signalled import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

NETWORK = TABLES.network
GATEWAYS = sorted(NETWORK.gateways)
SERVERS = sorted(NETWORK.aaa_servers)
REQUEST = RegReq("a@b.c", 1, "ha31", 60)

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
gateways = st.sampled_from(GATEWAYS)
lifetimes = st.integers(0, 0xFFFF)
nais = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,12}@[a-z]{1,8}(\.[a-z0-9]{1,8}){1,3}", fullmatch=True)
session_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9;._:-]{0,40}", fullmatch=True)
packets = st.one_of(st.just(b""), st.binary(min_size=1, max_size=300))
old_fas = st.lists(gateways, max_size=5).map(tuple)
keys = st.one_of(
    st.none(), st.builds(ProfileKeys, *[st.one_of(st.none(), st.binary(min_size=16, max_size=64).map(Secret))] * 5)
)
instances = st.builds(InstanceId, session_ids, u64, u32)
addresses = st.builds("{}.{}.{}.{}".format, st.sampled_from((10, 100, 192, 203)), *[st.integers(0, 255)] * 3)


@st.composite
def prefixes(draw: Callable[[Any], Any]) -> Prefix:
    length = draw(st.integers(0, 32))
    first = draw(u32) >> (32 - length) << (32 - length)
    dotted = ".".join(str(first >> shift & 0xFF) for shift in (24, 16, 8, 0))
    return Prefix(first, length, f"{dotted}/{length}")


@st.composite
def informations(draw: Callable[[Any], Any], nai: str) -> VpnInformation:
    spis = st.one_of(st.just(0), st.integers(256, 2**32 - 1))
    classes = st.one_of(st.none(), st.sampled_from(sorted(NETWORK.classes)))
    segment = st.builds(
        Segment,
        st.sampled_from(SegmentKind),
        st.integers(1, 0x0FFFFFFF),
        st.just(nai),
        prefixes(),
        prefixes(),
        classes,
        classes,
        st.sampled_from(Security),
        st.sampled_from(Share),
        gateways,
        gateways,
        spis,
        spis,
        keys,
    )
    segments = tuple(draw(st.lists(segment, max_size=4)))
    head = (draw(session_ids), nai, draw(addresses), draw(u64), draw(gateways), draw(u32))
    return VpnInformation(*head, segments)


@st.composite
def requests(draw: Callable[[Any], Any], nai: str, seq: int) -> RegReq:
    return RegReq(
        nai,
        seq,
        draw(st.one_of(st.just(""), gateways)),
        draw(lifetimes),
        draw(st.one_of(st.none(), gateways)),
        draw(st.one_of(st.none(), st.builds(ServiceUpdate, st.sampled_from(FrontEnd)))),
        draw(u64),
        draw(st.one_of(st.none(), gateways)),
        draw(st.one_of(st.none(), instances)),
        draw(packets),
    )


@st.composite
def replies(draw: Callable[[Any], Any], nai: str, seq: int) -> RegRep:
    return RegRep(nai, seq, draw(st.sampled_from(Code)), draw(lifetimes), draw(old_fas), draw(packets))


@st.composite
def amrs(draw: Callable[[Any], Any]) -> Amr:
    nai, seq = draw(nais), draw(u64)
    relay = draw(st.one_of(st.none(), st.sampled_from(SERVERS)))
    return Amr(nai, seq, draw(gateways), draw(requests(nai, seq)), relay)


@st.composite
def amas(draw: Callable[[Any], Any]) -> Ama:
    nai, seq = draw(nais), draw(u64)
    information = draw(st.one_of(st.none(), informations(nai)))
    reply = draw(st.one_of(st.none(), replies(nai, seq)))
    head = (nai, seq, draw(gateways), draw(st.sampled_from(Result)), information)
    return Ama(*head, draw(old_fas), reply, draw(u32))


@st.composite
def hars(draw: Callable[[Any], Any]) -> Har:
    nai, seq = draw(nais), draw(u64)
    information = draw(st.one_of(st.none(), informations(nai)))
    return Har(nai, seq, draw(st.sampled_from(SERVERS)), draw(requests(nai, seq)), information)


@st.composite
def haas(draw: Callable[[Any], Any]) -> Haa:
    nai, seq = draw(nais), draw(u64)
    return Haa(nai, seq, draw(st.sampled_from(Result)), draw(replies(nai, seq)), draw(u32))


def asked_of(message: Ama | Haa) -> Asked:
    """What a request left behind for the answer."""
    command = 260 if isinstance(message, Ama) else 262
    session = Writer(0).add(SESSION_ID, "fa21.isp2.example;0;1").payload()
    return Asked(Header(0, 0xC0, command, APPLICATION, 3, 4), session)
