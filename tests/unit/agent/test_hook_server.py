"""The hook socket: what it answers, who may open it, and what is left when its process dies."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import socket
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from roamvpn.agent import hook_server
from roamvpn.agent.adapters import Here
from roamvpn.agent.hook_server import app, radius_app, serve
from roamvpn.agent.intake import Form, Intake
from roamvpn.agent.spool import Spool
from roamvpn.agent.spool_file import Limits
from roamvpn.tables.problems import RoamvpnError
from tests.hooked import AGENT, NOW, Hook, client, fields, hook, post

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

ROOT = Path(__file__).resolve().parents[3]


def run(
    tmp_path: Path,
    steps: Callable[[Hook, aiohttp.ClientSession], Coroutine[None, None, None]],
    limits: Limits = Limits(),  # noqa: B008
) -> None:
    async def main() -> None:
        async with hook(tmp_path, limits=limits) as running, client(running.path) as session:
            await steps(running, session)

    asyncio.run(main())


def test_each_outcome_has_its_status_and_its_count(tmp_path: Path) -> None:
    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        standing = {"generation": 7, "digest": "a1b2"}
        assert await post(session, fields(2)) == (202, {"result": "accepted", **standing, "problems": []})
        assert await post(session, fields(2)) == (200, {"result": "duplicate", **standing, "problems": []})
        status, reply = await post(session, fields(1))
        assert (status, reply["result"]) == (409, "stale")
        status, reply = await post(session, fields(3, event_id="e-2"))
        assert (status, reply["result"]) == (409, "rejected")
        status, reply = await post(session, fields(4, agent="fa22", access_gw="fa22"))
        assert (status, reply["result"], len(reply["problems"])) == (422, "rejected", 2)
        status, reply = await post(session, b"x" * 20_000)
        assert (status, reply["result"]) == (413, "rejected")
        assert running.counted() == {
            ("events", "accepted"): 1,
            ("events", "duplicate"): 1,
            ("events", "stale"): 1,
            ("events", "rejected"): 3,
        }

    run(tmp_path, steps)


def test_what_is_accepted_is_on_disk(tmp_path: Path) -> None:
    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        await post(session, fields(1))
        # a copy as a crash would leave it: the file and its log, nothing of this process
        for name in ("spool.db", "spool.db-wal"):
            (tmp_path / "copy").mkdir(exist_ok=True, mode=0o700)
            (tmp_path / "copy" / name).write_bytes((tmp_path / name).read_bytes())
            (tmp_path / "copy" / name).chmod(0o600)
        async with Spool(tmp_path / "copy" / "spool.db", lambda: NOW) as copy:
            assert copy.held == 1
        assert running.spool.held == 1

    run(tmp_path, steps)


def test_a_full_spool_says_when_to_try_again(tmp_path: Path) -> None:
    async def steps(_running: Hook, session: aiohttp.ClientSession) -> None:
        await post(session, fields(1))
        async with session.post("/v1/events", json=fields(2)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert (await answer.json())["result"] == "rejected"

    run(tmp_path, steps, limits=Limits(events=1))


def test_a_busy_disk_says_so_before_it_is_asked(tmp_path: Path) -> None:
    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        async with session.post("/v1/events", json=fields(1)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert running.counted() == {("events", "busy"): 1}

    run(tmp_path, steps, limits=Limits(waiting=0))


def test_a_spool_that_cannot_be_written_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        def broken(*_: object) -> None:
            raise RoamvpnError("the disk is gone")

        monkeypatch.setattr(running.spool._file, "commit", broken)
        assert (await post(session, fields(1)))[0] == 503
        monkeypatch.undo()
        assert (await post(session, fields(1)))[0] == 202

    run(tmp_path, steps)


@given(
    raw=st.binary(max_size=300)
    | st.text(max_size=300).map(str.encode)
    | st.builds(json.dumps, st.lists(st.integers())).map(str.encode),
    form=st.sampled_from(list(Form)),
)
def test_nothing_but_a_refusal_comes_of_anything(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, form: Form
) -> None:
    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        status, reply = await post(session, raw, form)
        assert (status, reply["result"]) == (422, "rejected")
        assert all(each.isprintable() for each in reply["problems"])
        assert running.spool.held == 0

    run(tmp_path_factory.mktemp("hook"), steps)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PUT /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /v1/../../etc HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_broken_http_ends_that_connection_only(tmp_path: Path, raw: bytes) -> None:
    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        reader, writer = await asyncio.open_unix_connection(str(running.path))
        writer.write(raw)
        answer = await reader.read()
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
        writer.close()
        assert (await post(session, fields(1)))[0] == 202

    run(tmp_path, steps)


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(running: Hook, _session: aiohttp.ClientSession) -> None:
        monkeypatch.setattr(hook_server, "_READ_TIMEOUT", 0.01)
        reader, writer = await asyncio.open_unix_connection(str(running.path))
        writer.write(b'POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"v"')
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()

    run(tmp_path, steps)


def test_problems_are_told_up_to_a_number(tmp_path: Path) -> None:
    async def steps(_running: Hook, session: aiohttp.ClientSession) -> None:
        status, reply = await post(session, {f"x{number}": 1 for number in range(1000)})
        assert status == 422
        assert len(reply["problems"]) == 51
        assert reply["problems"][-1] == "and 961 more"

    run(tmp_path, steps)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Without a line for each event, which the capture of output would keep."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.reset_defaults()


async def crowd(session: aiohttp.ClientSession, users: int, numbers: range) -> None:
    """Users who tell their events each in order, and all at once."""

    async def user(name: int) -> None:
        for number in numbers:
            event = fields(number, nai=f"u{name}@isp3.example", event_id=f"{name}-{number}")
            status, _reply = await post(session, event)
            assert status == 202

    await asyncio.gather(*(user(name) for name in range(users)))


@pytest.mark.usefixtures("quiet")
def test_five_thousand_events_from_many_connections_are_all_kept_in_each_users_order(tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {}

    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        async def consume() -> None:
            for _ in range(5000):
                spooled = await anext(events)
                seen.setdefault(spooled.event.nai, []).append(spooled.event.seq)
                running.spool.confirm(spooled.id)

        events = running.spool.events()
        consumer = asyncio.create_task(consume())
        await crowd(session, 100, range(1, 51))
        await consumer

    run(tmp_path, steps)
    assert len(seen) == 100
    assert all(seqs == sorted(seqs) and len(seqs) == 50 for seqs in seen.values())


@pytest.mark.usefixtures("quiet")
def test_events_that_wait_are_on_disk_not_in_memory(tmp_path: Path) -> None:
    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        tracemalloc.start()
        # connections, buffers and caches come to be
        await crowd(session, 20, range(1, 21))
        gc.collect()
        before, _peak = tracemalloc.get_traced_memory()
        await crowd(session, 20, range(21, 61))
        gc.collect()
        after, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert running.spool.held == 1200
        # their JSON alone would be 200 kB, the objects several times that
        assert after - before < 100_000, after - before

    run(tmp_path, steps)


# who may come


def test_the_socket_and_its_directory_are_closed_to_others(tmp_path: Path) -> None:
    async def steps(running: Hook, _session: aiohttp.ClientSession) -> None:
        assert stat.S_IMODE(running.path.stat().st_mode) == 0o660
        assert stat.S_IMODE(running.path.parent.stat().st_mode) == 0o750

    run(tmp_path, steps)


def test_a_socket_of_the_dead_is_replaced_that_of_the_living_is_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        (tmp_path / "run").mkdir(mode=0o750)
        dead.bind(str(tmp_path / "run" / "hook.sock"))

    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        assert (await post(session, fields(1)))[0] == 202
        with pytest.raises(RoamvpnError, match="another process listens there"):
            await serve(app(running.intake), running.path)
        assert (await post(session, fields(2)))[0] == 202

    run(tmp_path, steps)


def test_a_file_in_the_way_is_left_and_so_is_a_directory_that_others_can_write(tmp_path: Path) -> None:
    async def steps(running: Hook, _session: aiohttp.ClientSession) -> None:
        (tmp_path / "file").write_text("theirs")
        with pytest.raises(RoamvpnError, match="and no socket"):
            await serve(app(running.intake), tmp_path / "file")
        open_to_all = tmp_path / "open"
        open_to_all.mkdir()
        open_to_all.chmod(0o777)
        with pytest.raises(RoamvpnError, match="others may write there"):
            await serve(app(running.intake), open_to_all / "hook.sock")

    run(tmp_path, steps)
    assert (tmp_path / "file").read_text() == "theirs"


def test_a_socket_may_be_passed_as_systemd_does(tmp_path: Path) -> None:
    async def steps(running: Hook, _session: aiohttp.ClientSession) -> None:
        passed = socket.socket(socket.AF_UNIX)
        passed.bind(str(tmp_path / "passed.sock"))
        passed.listen()
        runner = await serve(app(running.intake), passed.detach())
        async with client(tmp_path / "passed.sock") as session:
            assert (await post(session, fields(1)))[0] == 202
        await runner.cleanup()

    run(tmp_path, steps)


def test_loopback_is_for_radius_and_asks_for_a_password(tmp_path: Path) -> None:
    async def steps(running: Hook, _session: aiohttp.ClientSession) -> None:
        with pytest.raises(RoamvpnError, match="needs a password"):
            radius_app(running.intake, "freeradius", "")
        with pytest.raises(RoamvpnError, match="over loopback only"):
            await serve(radius_app(running.intake, "freeradius", "pässword"), ("0.0.0.0", 0))  # noqa: S104 - refused
        runner = await serve(radius_app(running.intake, "freeradius", "pässword"), ("127.0.0.1", 0))
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            statuses = []
            for user, password, form in [
                ("freeradius", "pässword", "radius"),
                ("freeradius", "guess", "radius"),
                ("freeradius", "pässword", "events"),
            ]:
                headers = {"Authorization": aiohttp.encode_basic_auth(user, password, encoding="utf-8")}
                async with session.post(f"/v1/{form}", data=b"{}", headers=headers) as answer:
                    statuses.append(answer.status)
            async with session.post("/v1/radius", data=b"{}") as answer:
                statuses.append(answer.status)
        assert statuses == [422, 401, 404, 401]
        await runner.cleanup()

    run(tmp_path, steps)


def test_radius_is_told_what_its_client_understands(tmp_path: Path) -> None:
    packet = {
        "Acct-Status-Type": {"type": "integer", "value": ["Start"]},
        "User-Name": {"type": "string", "value": ["alice@isp3.example"]},
        "Framed-IP-Address": {"type": "ipaddr", "value": ["10.3.0.11"]},
        "Event-Timestamp": {"type": "date", "value": [NOW]},
        "Acct-Session-Id": {"type": "string", "value": ["5"]},
    }

    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        assert await post(session, packet, "radius") == (204, {})
        assert await post(session, packet, "radius") == (204, {})
        running.spool._limits = Limits(waiting=0)
        assert (await post(session, packet, "radius"))[0] == 503

    run(tmp_path, steps)


# its end


def _started(directory: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hooked", str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) != b"ready\n":
        assert line, "the hook ended before it was ready"
    return process


def test_a_process_that_is_killed_between_spool_and_answer_has_kept_the_event(tmp_path: Path) -> None:
    async def told(event: dict[str, object]) -> int:
        async with client(tmp_path / "run" / "hook.sock") as session:
            return (await post(session, event))[0]

    process = _started(tmp_path)
    try:
        assert asyncio.run(told(fields(1))) == 202
        with pytest.raises(aiohttp.ClientError):
            asyncio.run(told(fields(2, event_id="strike")))
        assert process.wait(20) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()

    async def steps(running: Hook, session: aiohttp.ClientSession) -> None:
        # whoever had no answer asks again, and is told that it was heard
        assert (await post(session, fields(2, event_id="strike")))[0] == 200
        assert [event.event_id for event in await running.waiting()] == ["e-1", "strike"]

    run(tmp_path, steps)


def test_a_request_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with Spool(tmp_path / "spool.db", lambda: NOW) as spool:
            intake = Intake(spool, Here(AGENT, lambda _address: None), lambda: NOW)
            runner = await serve(app(intake), tmp_path / "run" / "hook.sock")
            body = json.dumps(fields(1)).encode()
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "run" / "hook.sock"))
            writer.write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            answer = await reader.readline()
            await runner.cleanup()
            writer.close()
            assert answer == b"HTTP/1.1 202 Accepted\r\n"
            assert spool.held == 1

    asyncio.run(main())
