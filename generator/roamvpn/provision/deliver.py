"""Bring one gateway what is staged for it: certificates, then its generation, confirmed over a fresh connection."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from roamvpn.provision.fleet import base_digest
from roamvpn.render.manifest import MANIFEST, parse
from roamvpn.stores.bundles import pack
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.provision.control import Control
    from roamvpn.provision.state import State

Answer = dict[str, object]
_SHOWN = ("changed", "digest", "before", "done", "waiting")
"""What a task shows of an answer."""


class Call(Protocol):
    """Runs `roamvpn-gateway` on the gateway; returns what it printed, `{}` where it is not there."""

    def __call__(self, *arguments: str, stdin: str = "") -> Answer:
        """`stdin` is base64."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a generation is delivered: `confirm` in seconds, `check` tries it out and changes nothing."""

    holder: str
    confirm: int = 60
    check: bool = False
    to: str = "staged"
    """What is activated: what is staged here, or what the gateway has, by digest, or `previous`."""
    together: bool = False
    """Whether peers that change later in this run understand this one already, so that nothing need wait for them."""


def generation(control: Control, gateway: str, how: Delivery, call: Call, fresh: Callable[[], None]) -> Answer:
    """Activate the staged generation; `fresh` drops the connection, so that the confirmation needs a new one.

    Raises:
        RoamvpnError: with the gateway's own words.
    """
    state = control.state
    staged = state.staged / gateway
    record = state.record(gateway)
    if record is None or not (staged / MANIFEST).exists():
        raise RoamvpnError(f"{gateway}: nothing is staged for it; plan first")
    digest = parse((staged / MANIFEST).read_bytes()).digest
    prepared = state.staged / f"{gateway}.diff"
    diff = prepared.read_text() if prepared.exists() else ""
    bundle = base64.b64encode(gzip.compress(pack(staged), mtime=0)).decode()
    arguments = ["apply", "--digest", digest, "--gateway", gateway, "--expected", record.generation or "", "--bundle"]
    arguments += ["--check"] if how.check else ["--confirm", str(how.confirm)]
    for address in [] if how.together else _later(control, gateway):
        arguments += ["--defer", address]
    answer = call("--holder", how.holder, *arguments, stdin=bundle)
    if how.check:
        return {**_checked(gateway, answer, digest), "diff": {"prepared": diff}}
    _stands(state, gateway, answer)
    token = answer.get("token")
    if isinstance(token, str):
        fresh()
        _stands(state, gateway, call("--holder", how.holder, "confirm", "--token", token))
    state.arrived(gateway)
    state.keep(gateway, waiting=bool(answer.get("waiting")))
    shown = {key: answer.get(key) for key in _SHOWN}
    return {**shown, "diff": {"prepared": diff}}


def _checked(gateway: str, answer: Answer, digest: str) -> Answer:
    if not answer:
        return {"changed": True, "digest": digest, "msg": "not tried out: the gateway is bare yet"}
    return {"changed": answered(gateway, answer).get("changed"), "digest": digest}


def _stands(state: State, gateway: str, answer: Answer) -> None:
    if not answer:
        state.doubt(gateway)
        raise RoamvpnError(f"{gateway}: is bare, though it was configured; was it replaced? Run this again")
    if "error" in answer:
        if "planned against" in str(answer["error"]):
            # somebody else was here: ask the gateway before the next plan
            state.doubt(gateway)
            raise RoamvpnError(f"{gateway}: {answer['error']}; run this again to plan against what it runs")
        answered(gateway, answer)


def _later(control: Control, gateway: str) -> list[str]:
    """Addresses of gateways whose turn comes after this one's."""
    state = control.state
    run = state.run()
    others = run.gateways[run.gateways.index(gateway) + 1 :] if run is not None and gateway in run.gateways else ()
    waiting = []
    for name in others:
        staged, record = state.staged / name / MANIFEST, state.record(name)
        if staged.exists() and (record is None or parse(staged.read_bytes()).digest != record.generation):
            waiting.append(control.tables.gateway(name).address)
    return waiting


def certificate(control: Control, gateway: str, call: Call) -> Answer:
    """See that a gateway has a certificate that holds, the CA's and the newest CRL. Its key is made and stays there."""
    state, names, authority = control.state, control.identities(gateway), control.authority
    with authority.locked():
        authority.prepare(control.now)
    record, issued = state.record(gateway), authority.index.issued.get(gateway)
    current = issued is not None and record is not None and record.serial == issued.serial
    files = {"authority": authority.certificate, "crl": authority.crl}
    if not current or authority.lacks(gateway, names, control.now):
        # a new certificate is a new key; a key that is there and was never certified will do
        again = ["--fresh"] if issued is not None else []
        words = [word for name in names for word in ("--identity", name)]
        asked = answered(gateway, call("request", "--gateway", gateway, *words, *again))
        with authority.locked():
            files["certificate"] = authority.issue(str(asked["request"]), gateway, names, control.now)
    sent = base64.b64encode(json.dumps(files).encode()).decode()
    answer = answered(gateway, call("install", "--gateway", gateway, stdin=sent))
    state.keep(gateway, serial=authority.index.issued[gateway].serial, crl=authority.crl_digest)
    return {"changed": answer.get("changed"), "issued": "certificate" in files}


def rolled_back(control: Control, gateway: str, how: Delivery, call: Call, fresh: Callable[[], None]) -> Answer:
    """Activate a generation that the gateway still has: one by its digest, or the `previous` one."""
    digest = str(answered(gateway, call("previous"))["digest"]) if how.to == "previous" else how.to
    arguments = ["apply", "--digest", digest, "--gateway", gateway]
    arguments += ["--check"] if how.check else ["--confirm", str(how.confirm)]
    answer = answered(gateway, call("--holder", how.holder, *arguments))
    token = answer.get("token")
    if isinstance(token, str):
        fresh()
        answered(gateway, call("--holder", how.holder, "confirm", "--token", token))
    if not how.check:
        # what it runs now is asked for by the next run
        control.state.keep(gateway, waiting=bool(answer.get("waiting")))
        control.state.doubt(gateway)
    return {key: answer.get(key) for key in _SHOWN}


def removed(control: Control, gateway: str, how: Delivery, call: Call) -> Answer:
    """Take everything off the gateway, revoke its certificate, and forget it."""
    answer = call("--holder", how.holder, "remove", "--gateway", gateway)
    if answer:
        answered(gateway, answer)
    authority = control.authority
    with authority.locked():
        revoked = authority.revoke(gateway, control.now)
    control.state.forget(gateway)
    return {"changed": bool(answer.get("changed")) or revoked, "done": answer.get("done", []), "revoked": revoked}


def answered(gateway: str, answer: Answer) -> Answer:
    """The answer itself; raises RoamvpnError where there is no program on the gateway, or it reports an error."""
    if not answer:
        raise RoamvpnError(f"{gateway}: roamvpn-gateway is not there; run the role base first")
    if "error" in answer:
        raise RoamvpnError(f"{gateway}: {answer['error']}")
    return answer


def associated(control: Control, gateway: str, again: list[str], call: Call) -> Answer:
    """Set up associations that are down, and those with gateways that are new: `again` names them."""
    words = [word for name in again for word in ("--again", control.tables.gateway(name).address)]
    answer = answered(gateway, call("initiate", *words))
    control.state.keep(gateway, waiting=bool(answer.get("waiting")))
    return {key: answer.get(key) for key in ("changed", "done", "waiting")}


def based(state: State, gateway: str) -> None:
    """The role base has been through on this gateway."""
    state.keep(gateway, base=base_digest())
