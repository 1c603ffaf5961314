"""Real FreeRADIUS and real Kea, configured with what we ship, tell the hook of users who come and go."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.agent.hook_server import radius_app, serve
from roamvpn.agent.spool_file import Limits
from tests.hooked import AGENT, Hook, hook
from tests.namespaces import inside, namespace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from roamvpn.agent.spool import Spooled

HOOKS = Path(__file__).resolve().parents[2] / "templates/hooks"
SECRET = b"testing123"
PASSWORD = "hook-password"

# FreeRADIUS

RADIUSD = """
prefix = /usr
raddbdir = {directory}
logdir = {directory}
run_dir = {directory}
libdir = /usr/lib/freeradius
max_request_time = 10
cleanup_delay = 0
security {{
    max_attributes = 200
    reject_delay = 0
    status_server = no
    allow_vulnerable_openssl = yes
}}
thread pool {{
    start_servers = 1
    max_servers = 4
    min_spare_servers = 1
    max_spare_servers = 1
    max_requests_per_server = 0
}}
client localhost {{
    ipaddr = 127.0.0.1
    secret = {secret}
}}
modules {{
    preprocess {{
    }}
    always ok {{
        rcode = ok
    }}
    $INCLUDE {module}
}}
server default {{
    listen {{
        type = acct
        ipaddr = 127.0.0.1
        port = {port}
    }}
    preacct {{
        preprocess
    }}
    accounting {{
        roamvpn {{
            invalid = 1
        }}
        ok
    }}
}}
"""
START, STOP, INTERIM = 1, 2, 3


class Radius(NamedTuple):
    """A FreeRADIUS that takes accounting at this port."""

    port: int

    def account(self, status: int, number: int, patience: float = 20, **others: bytes) -> bool:
        """Send one accounting request as an access server does; whether it was answered in so many seconds."""
        attributes = {
            "40": struct.pack("!I", status),
            "1": b"alice@isp3.example",
            "8": socket.inet_aton("10.3.0.11"),
            "44": b"0000001F",
            "32": b"ap-7",
            **{name.removeprefix("a"): value for name, value in others.items()},
        }
        body = b"".join(bytes([int(kind), len(value) + 2]) + value for kind, value in attributes.items())
        head = struct.pack("!BBH", 4, number, 20 + len(body))
        authenticator = hashlib.md5(head + bytes(16) + body + SECRET).digest()  # noqa: S324 - RFC 2866 section 3
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nas:
            nas.settimeout(patience)
            nas.connect(("127.0.0.1", self.port))
            nas.send(head + authenticator + body)
            try:
                answer = nas.recv(4096)
            except TimeoutError:
                return False
        # an Accounting-Response, into which nothing of the hook's reply has got
        assert (answer[0], answer[1], len(answer)) == (5, number, 20)
        return True


@contextmanager
def freeradius(directory: Path, hook_port: int) -> Iterator[Radius]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory.mkdir()
    (directory / "dictionary").touch()
    settings = RADIUSD.format(directory=directory, secret=SECRET.decode(), module=HOOKS / "freeradius/rest", port=port)
    (directory / "radiusd.conf").write_text(settings)
    environment = {
        "PATH": os.environ["PATH"],
        "ROAMVPN_RADIUS_PORT": str(hook_port),
        "ROAMVPN_RADIUS_PASSWORD": PASSWORD,
    }
    daemon = subprocess.Popen(
        ["freeradius", "-f", "-l", "stdout", "-n", "radiusd", "-d", str(directory)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert daemon.stdout is not None
        told = []
        for line in daemon.stdout:
            told.append(line)
            if "Ready to process requests" in line:
                break
        else:
            raise AssertionError("".join(told))
        yield Radius(port)
    finally:
        daemon.terminate()
        daemon.communicate()


def run(
    tmp_path: Path,
    steps: Callable[[Hook, Radius], Coroutine[None, None, None]],
    limits: Limits = Limits(),  # noqa: B008
) -> None:
    async def main() -> None:
        async with hook(tmp_path, None, limits) as running:
            runner = await serve(radius_app(running.intake, "radius", PASSWORD), ("127.0.0.1", 0))
            try:
                with freeradius(tmp_path / "radius", runner.addresses[0][1]) as radius:
                    await steps(running, radius)
            finally:
                await runner.cleanup()

    asyncio.run(main())


def test_accounting_becomes_events(tmp_path: Path) -> None:
    async def steps(running: Hook, radius: Radius) -> None:
        began = int(time.time())
        for number, status, at in ((1, START, began), (2, INTERIM, began + 1), (3, STOP, began + 2)):
            assert await asyncio.to_thread(radius.account, status, number, a55=struct.pack("!I", at))
        came, stayed, left = await running.waiting()
        assert [each.type for each in (came, stayed, left)] == ["register", "refresh", "deregister"]
        assert came.nai == "alice@isp3.example"
        assert came.home_addr == "10.3.0.11"
        assert came.agent == came.access_gw == AGENT
        assert came.source == "radius"
        assert came.observed_at == began
        assert came.evidence == {"nas": "ap-7"}
        assert came.session_id == left.session_id
        assert came.seq < stayed.seq < left.seq
        assert (came.lifetime_s, left.lifetime_s) == (1800, 0)

    run(tmp_path, steps)


def test_a_request_that_is_sent_again_is_one_event(tmp_path: Path) -> None:
    async def steps(running: Hook, radius: Radius) -> None:
        at = struct.pack("!I", int(time.time()))
        for number in (1, 2):
            assert await asyncio.to_thread(radius.account, START, number, a55=at)
        assert running.counted() == {("radius", "accepted"): 1, ("radius", "duplicate"): 1}

    run(tmp_path, steps)


def test_a_request_without_a_timestamp_gets_that_of_its_arrival(tmp_path: Path) -> None:
    async def steps(running: Hook, radius: Radius) -> None:
        before = int(time.time())
        assert await asyncio.to_thread(radius.account, START, 1)
        (event,) = await running.waiting()
        assert before <= event.observed_at <= int(time.time())

    run(tmp_path, steps)


def test_the_late_stop_of_an_earlier_session_ends_nothing_and_is_not_repeated(tmp_path: Path) -> None:
    async def steps(running: Hook, radius: Radius) -> None:
        now = int(time.time())
        for number, status, session, at in (
            (1, START, b"1", now - 20),
            (2, START, b"2", now - 10),
            (3, STOP, b"1", now),
        ):
            stamp = struct.pack("!I", at)
            assert await asyncio.to_thread(radius.account, status, number, a44=session, a55=stamp)
        assert [each.type for each in await running.waiting()] == ["register", "register"]
        assert running.counted()["radius", "stale"] == 1

    run(tmp_path, steps)


def test_hostile_attributes_are_refused_and_answered(tmp_path: Path) -> None:
    async def steps(running: Hook, radius: Radius) -> None:
        names = [
            b'alice"@isp3.example',
            b"alice\n@isp3.example",
            b"\xff\xfe@b.example",
            b"%{User-Name}",
            b"a\\",
            b"`id`",
        ]
        for number, name in enumerate(names):
            assert await asyncio.to_thread(radius.account, START, number, a1=name)
        assert running.counted() == {("radius", "rejected"): len(names)}
        assert await running.waiting() == []

    run(tmp_path, steps)


def test_what_cannot_be_kept_is_not_answered_so_that_it_comes_again(tmp_path: Path) -> None:
    async def steps(running: Hook, radius: Radius) -> None:
        at = int(time.time())
        assert await asyncio.to_thread(radius.account, START, 1, a55=struct.pack("!I", at))
        assert not await asyncio.to_thread(radius.account, INTERIM, 2, 1, a55=struct.pack("!I", at + 1))
        assert running.counted()["radius", "full"] >= 1

    run(tmp_path, steps, Limits(events=1))


# Kea


class Kea(NamedTuple):
    """A Kea at one end of a wire, and the namespace of the client at the other."""

    client: int

    def ask(self, what: str) -> str:
        """Lease or release; the address."""
        return inside(self.client, sys.executable, str(CLIENT), "10.3.0.2", "10.3.0.1", what)


CLIENT = Path(__file__).with_name("dhcp_client.py")


@contextmanager
def kea(directory: Path, hook_directory: Path, lifetime: int = 1200) -> Iterator[Kea]:
    directory.mkdir()
    for name in ("roamvpn-event", "kea-run-script"):
        shutil.copy(HOOKS / name, directory / name)
    # Kea empties the environment, and the places below are those of a test
    script = directory / "wrapped"
    script.write_text(
        "#!/bin/sh\n"
        f"export ROAMVPN_SOCKET='{hook_directory}/run/hook.sock' ROAMVPN_DROP='{hook_directory}/drop'\n"
        f"exec '{directory}/kea-run-script' \"$@\"\n"
    )
    script.chmod(0o755)
    library = next(Path("/usr/lib").glob("*/kea/hooks/libdhcp_run_script.so"))
    settings = {
        "interfaces-config": {"interfaces": ["server"], "dhcp-socket-type": "udp"},
        "lease-database": {"type": "memfile", "name": str(directory / "leases.csv"), "lfc-interval": 0},
        "expired-leases-processing": {"reclaim-timer-wait-time": 1, "hold-reclaimed-time": 0},
        "valid-lifetime": lifetime,
        "subnet4": [
            {
                "subnet": "10.3.0.0/24",
                "reservations": [{"hw-address": "02:00:00:00:00:11", "ip-address": "10.3.0.11"}],
            }
        ],
        "hooks-libraries": [{"library": str(library), "parameters": {"name": str(script), "sync": False}}],
        "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout", "flush": True}]}],
    }
    (directory / "kea.json").write_text(json.dumps({"Dhcp4": settings}))
    with namespace() as server, namespace() as client:
        inside(server, "ip", "link", "add", "server", "type", "veth", "peer", "name", "client", "netns", str(client))
        for pid, name, address in ((server, "server", "10.3.0.1/24"), (client, "client", "10.3.0.2/24")):
            inside(pid, "ip", "address", "add", address, "dev", name)
            inside(pid, "ip", "link", "set", name, "up")
        daemon = subprocess.Popen(
            ["nsenter", "-t", str(server), "-n", "kea-dhcp4", "-c", str(directory / "kea.json")],
            env={"PATH": os.environ["PATH"], "KEA_PIDFILE_DIR": str(directory), "KEA_LOCKFILE_DIR": str(directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert daemon.stdout is not None
            told = []
            for line in daemon.stdout:
                told.append(line)
                if "DHCP4_STARTED" in line:
                    break
            else:
                raise AssertionError("".join(told))
            yield Kea(client)
        finally:
            daemon.terminate()
            daemon.communicate()


def with_kea(
    tmp_path: Path,
    steps: Callable[[AsyncIterator[Spooled], Kea, Hook], Coroutine[None, None, None]],
    lifetime: int = 1200,
) -> None:
    async def main() -> None:
        (tmp_path / "drop").mkdir()
        async with hook(tmp_path, None) as running:
            with kea(tmp_path / "kea", tmp_path, lifetime) as server:
                await steps(running.spool.events(), server, running)

    asyncio.run(main())


def test_a_lease_that_is_given_and_given_back_becomes_events(tmp_path: Path) -> None:
    async def steps(events: AsyncIterator[Spooled], server: Kea, running: Hook) -> None:
        assert await asyncio.to_thread(server.ask, "lease") == "10.3.0.11"
        came = (await anext(events)).event
        assert await asyncio.to_thread(server.ask, "lease") == "10.3.0.11"
        again = (await anext(events)).event
        await asyncio.to_thread(server.ask, "release")
        left = (await anext(events)).event
        assert [each.type for each in (came, again, left)] == ["register", "register", "deregister"]
        # the address tells whose home it is
        assert {each.nai for each in (came, again, left)} == {"alice@isp3.example"}
        assert (came.lifetime_s, left.lifetime_s) == (1200, 0)
        assert came.session_id == left.session_id
        assert came.seq < again.seq < left.seq
        assert came.evidence == {"hwaddr": "02:00:00:00:00:11", "client_id": "00:63:6c:69:65:6e:74"}
        assert running.counted() == {("kea", "accepted"): 3}

    with_kea(tmp_path, steps)


def test_a_lease_that_ends_by_itself_becomes_a_goodbye(tmp_path: Path) -> None:
    async def steps(events: AsyncIterator[Spooled], server: Kea, _running: Hook) -> None:
        assert await asyncio.to_thread(server.ask, "lease") == "10.3.0.11"
        assert (await anext(events)).event.lifetime_s == 1
        assert (await anext(events)).event.type == "deregister"

    with_kea(tmp_path, steps, lifetime=1)
