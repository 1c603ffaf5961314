"""Messages of registrations on the example network, and machines that have had them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roamvpn.signalling.messages import (
    Address,
    Ama,
    Amr,
    Applied,
    Ba,
    Bu,
    Code,
    Found,
    Haa,
    Har,
    InstanceId,
    NodeRole,
    RegRep,
    RegReq,
    Result,
)
from tests.signalled import ALICE, Bench, applies, messages, one

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.signalling.aaah import Aaah, HomeEntry
    from roamvpn.signalling.binding import Binding
    from roamvpn.signalling.fa import Fa
    from roamvpn.signalling.visitor import Visitor

NOW = 1000


def amr_of(nai: str, seq: int, origin: str = "fa21", **more: Any) -> Amr:  # noqa: ANN401 - fields of a request
    return Amr(nai, seq, origin, RegReq(nai, seq, "ha31", more.pop("lifetime", 60), **more), "aaaf23")


def haa_of(nai: str, seq: int, generation: int = 0, old_fas: tuple[str, ...] = ()) -> Haa:
    return Haa(nai, seq, Result.SUCCESS, RegRep(nai, seq, Code.ACCEPTED, 60, old_fas), generation)


def posted_home(bench: Bench, machine: Aaah, nai: str, seq: int = 1) -> tuple[HomeEntry | None, VpnInformation]:
    """An initial registration up to its HAR."""
    entry, _ = machine.handle(None, amr_of(nai, seq), NOW)
    entry, effects = machine.handle(entry, Found(nai, seq, bench.records(nai)), NOW)
    information = one(effects, Har).information
    assert information is not None
    return entry, information


def registered_home(bench: Bench, machine: Aaah, nai: str) -> HomeEntry:
    entry, _ = posted_home(bench, machine, nai)
    entry, _ = machine.handle(entry, haa_of(nai, 1), NOW)
    assert entry is not None
    return entry


def har_of(information: VpnInformation | None, seq: int, **more: Any) -> Har:  # noqa: ANN401 - fields of a request
    nai = more.pop("nai", None) or (information.nai if information is not None else ALICE)
    agent = more.pop("care_of", None) or (information.foreign_agent if information is not None else "fa21")
    request = RegReq(nai, seq, "ha31", more.pop("lifetime", 60), care_of=agent, **more)
    return Har(nai, seq, "aaah33", request, information)


def ba_of_pcn(nai: str, seq: int, number: int, pcn: str = "pcn41b", status: Code = Code.ACCEPTED) -> Ba:
    return Ba(nai, seq, Address(NodeRole.PCN, pcn), status, number)


def bound(bench: Bench, nai: str, seq: int = 1, now: int = NOW) -> Binding:
    """A user at fa21, whose PCNs have acknowledged."""
    entry, effects = bench.ha().handle(None, har_of(bench.information(nai), seq), now)
    for bu in messages(effects):
        if isinstance(bu, Bu):
            entry, _ = bench.ha().handle(entry, ba_of_pcn(nai, seq, bu.profile_number), now)
    assert entry is not None
    assert entry.deferred is None
    return entry


def direct(bench: Bench, nai: str, seq: int, agent: str, **more: Any) -> RegReq:  # noqa: ANN401 - fields of a request
    generation = more.pop("generation", 0 if agent == "fa21" else 1)
    held = InstanceId.of(bench.on_leg(nai, agent, generation))
    old_fa = more.pop("old_fa", "fa21")
    return RegReq(nai, seq, "ha31", 60, old_fa, care_of=agent, held=held, **more)


def request_of(nai: str, seq: int, old_fa: str | None = None, **more: Any) -> RegReq:  # noqa: ANN401 - its fields
    return RegReq(nai, seq, "ha31", more.pop("lifetime", 60), old_fa, **more)


def ama_of(bench: Bench, nai: str, seq: int, agent: str, *old_fas: str, generation: int = 1) -> Ama:
    """Home's answer; without a generation of its own that of the first move."""
    information = bench.on_leg(nai, agent, generation)
    return Ama(nai, seq, agent, Result.SUCCESS, information, old_fas, RegRep(nai, seq, Code.ACCEPTED, 60), 120)


def local_ama_of(bench: Bench, nai: str, seq: int, agent: str) -> Ama:
    return Ama(nai, seq, agent, Result.SUCCESS, bench.on_leg(nai, agent, 1), authorized=120)


def reply_of(nai: str, seq: int, *old_fas: str, code: Code = Code.ACCEPTED) -> RegRep:
    return RegRep(nai, seq, code, 60, old_fas)


def served(bench: Bench, machine: Fa, nai: str, agent: str = "fa21") -> Visitor:
    entry, _ = machine.handle(None, request_of(nai, 1), NOW)
    entry, effects = machine.handle(entry, ama_of(bench, nai, 1, agent, generation=0), NOW)
    if applies(effects):
        entry, effects = machine.handle(entry, Applied(nai, 1), NOW)
    assert one(effects, RegRep).code is Code.ACCEPTED
    assert entry is not None
    return entry


def ba_of_fa(nai: str, seq: int, old_fa: str, status: Code = Code.ACCEPTED) -> Ba:
    return Ba(nai, seq, Address(NodeRole.FA, old_fa), status)
