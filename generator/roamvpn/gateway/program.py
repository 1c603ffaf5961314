"""`roamvpn-gateway`: what a controller, a boot or an operator at the console asks of this gateway.

Prints one JSON object. Exit codes: 0 fine, 2 `verify` found drift, 1 an error (`error` says where and why).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from roamvpn.gateway import pki, scratch, setup
from roamvpn.gateway.activation import Gateway, Order, Places, Report
from roamvpn.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DRIFT = 2
PROGRAM = "usr/local/sbin/roamvpn-gateway"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    os.umask(0o077)
    options = _parser().parse_args(argv)
    if options.command == "try-out":
        return scratch.inside(Path(options.generation), Path(options.credentials))
    places = Places.below(Path(options.root)) if options.root else Places()
    gateway = Gateway(places, [sys.executable, "-I", str(Path(sys.argv[0]).resolve())])
    try:
        answer, code = _run(gateway, options)
    except GatewayError as error:
        answer, code = {"error": f"{error.step}: {error.message}", "step": error.step}, 1
    except OSError as error:
        answer, code = {"error": f"{error.filename or 'system'}: {error.strerror}", "step": "system"}, 1
    sys.stdout.write(json.dumps(answer, indent=1, sort_keys=True) + "\n")
    return code


def _run(gateway: Gateway, options: argparse.Namespace) -> tuple[dict[str, object], int]:
    if options.command == "verify":
        rows = gateway.drift()
        return {"digest": gateway.store.current(), "drift": rows}, DRIFT if rows else 0
    holder = options.holder
    changes: dict[str, Callable[[], Report]] = {
        "apply": lambda: _apply(gateway, options),
        "confirm": lambda: gateway.confirm(options.token, holder),
        "boot": lambda: gateway.boot(holder),
        "initiate": lambda: gateway.initiate(holder, frozenset(options.again)),
        "remove": lambda: _remove(gateway, options),
    }
    if options.command in changes:
        return asdict(changes[options.command]()), 0
    others: dict[str, Callable[[], dict[str, object]]] = {
        "status": lambda: _status(gateway),
        "revert": lambda: {"changed": gateway.rollback_unconfirmed(options.token, holder)},
        "fetch": lambda: _fetch(gateway, Path(options.out)),
        "setup": lambda: _setup(gateway, options),
        "previous": lambda: {"digest": gateway.store.previous()},
        "request": lambda: pki.request(
            gateway.places.credentials, options.gateway, options.identity, fresh=options.fresh
        ),
        "install": lambda: {
            "changed": pki.install(gateway.places.credentials, options.gateway, _received(sys.stdin.buffer.read()))
        },
    }
    return others[options.command](), 0


def _remove(gateway: Gateway, options: argparse.Namespace) -> Report:
    report = gateway.remove(options.holder, options.gateway)
    program = gateway.places.root / PROGRAM
    if program.exists():
        program.unlink()
        report.done.append(f"removed {program}")
        report.changed = True
    return report


def _setup(gateway: Gateway, options: argparse.Namespace) -> dict[str, object]:
    with gateway.store.locked(options.holder, wait=True):
        changed = setup.setup(gateway.places.root, sys.stdin.read(), hardening=options.hardening, check=options.check)
    started = (gateway.places.run / "started").exists()
    return {"changed": bool(changed), "done": changed, "started": started}


def _received(text: bytes) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GatewayError("pki", f"what is to be installed is not JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise GatewayError("pki", "what is to be installed is no object of texts")
    return found


def _apply(gateway: Gateway, options: argparse.Namespace) -> Report:
    bundle = sys.stdin.buffer.read() if options.bundle else None
    order = Order(
        digest=options.digest,
        gateway=options.gateway,
        holder=options.holder,
        expected=options.expected,
        confirm=options.confirm,
        defer=frozenset(options.defer),
        check=options.check,
    )
    return gateway.apply(order, bundle)


def _status(gateway: Gateway) -> dict[str, object]:
    pending = gateway.store.pending()
    waits = None if pending is None else {key: getattr(pending, key) for key in ("after", "before", "holder")}
    return {
        "digest": gateway.store.current(),
        "history": gateway.store.history(),
        "pending": waits,
        "program": program_digest(),
    }


def program_digest() -> str:
    """Digest of this program's own file, by which a controller knows its version."""
    path = Path(sys.argv[0])
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def _fetch(gateway: Gateway, out: Path) -> dict[str, object]:
    current = gateway.store.current()
    if current is None:
        return {"digest": None, "program": program_digest()}
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(gateway.store.pack(current))
    return {"digest": current, "program": program_digest()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="roamvpn-gateway", description="Configures this security gateway.")
    parser.add_argument("--root", help="work on the file system below this directory, without kernel and daemon")
    parser.add_argument(
        "--holder", default="the console", help="who asks, shown to others that find the gateway locked"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="which generation runs, what is kept, what waits for confirmation")
    commands.add_parser("verify", help="what is not as the current generation asks; exits 2 if anything is")
    apply = commands.add_parser("apply", help="activate a generation, from a bundle on standard input or from disk")
    apply.add_argument("--digest", required=True)
    apply.add_argument("--gateway", required=True, help="this gateway's name")
    apply.add_argument("--bundle", action="store_true", help="read the bundle from standard input")
    apply.add_argument("--expected", help="refuse unless this generation runs; empty for none")
    apply.add_argument("--confirm", type=int, default=0, metavar="SECONDS", help="come back unless confirmed")
    apply.add_argument("--defer", action="append", default=[], metavar="ADDRESS", help="a peer not to initiate to")
    apply.add_argument("--check", action="store_true", help="try it out, then change nothing")
    confirm = commands.add_parser("confirm", help="let a change stand, if the gateway is healthy")
    confirm.add_argument("--token", required=True)
    revert = commands.add_parser("revert", help="undo a change that waits for its confirmation")
    revert.add_argument("--token")
    setting_up = commands.add_parser("setup", help="let charon read the current generation")
    setting_up.add_argument("--hardening", action="store_true", help="close what a gateway does not need")
    setting_up.add_argument("--check", action="store_true", help="change nothing")
    commands.add_parser("previous", help="the generation before the current one")
    commands.add_parser("boot", help="load everything, after a start of the machine or of charon")
    initiate = commands.add_parser("initiate", help="set up associations that this end initiates and that are down")
    initiate.add_argument("--again", action="append", default=[], metavar="ADDRESS", help="a peer that is new")
    remove = commands.add_parser("remove", help="take everything of roamvpn off this gateway")
    remove.add_argument("--gateway", required=True, help="this gateway's name")
    fetch = commands.add_parser("fetch", help="write the current generation's bundle to a file")
    fetch.add_argument("--out", required=True)
    request = commands.add_parser("request", help="a certificate request; the private key is made here and stays here")
    request.add_argument("--gateway", required=True)
    request.add_argument("--identity", action="append", required=True)
    request.add_argument("--fresh", action="store_true", help="with a new private key")
    install = commands.add_parser("install", help="certificate, CA and CRL from standard input (JSON)")
    install.add_argument("--gateway", required=True)
    trial = commands.add_parser("try-out")
    trial.add_argument("generation")
    trial.add_argument("credentials")
    return parser


if __name__ == "__main__":
    sys.exit(main())
