"""The hook script under the shell of the system, with the clients that it knows, against a real hook socket."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roamvpn.agent.drop import DropDirectory
from roamvpn.agent.events import parse_event
from roamvpn.agent.hook_server import app, serve
from roamvpn.agent.spool_file import Limits
from roamvpn.tables.problems import InputError
from tests.hooked import AGENT, Hook, hook

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SCRIPT = Path(__file__).resolve().parents[2] / "templates/hooks/roamvpn-event"
CLIENTS = pytest.mark.parametrize("client", ["socat", "curl"])
ALICE = ("type=register", "nai=alice@isp3.example", "home_addr=10.3.0.11")


async def tell(
    directory: Path, *arguments: str | bytes, client: str = "socat", shell: str = "sh", **environment: str
) -> tuple[int, str]:
    """Run the script as somebody who is not there to wait: its exit code and what it says."""
    variables = {
        "PATH": os.environ["PATH"],
        "ROAMVPN_SOCKET": str(directory / "run" / "hook.sock"),
        "ROAMVPN_DROP": str(directory / "drop"),
        "ROAMVPN_TRIES": "1",
        "ROAMVPN_AGENT": AGENT,
        "ROAMVPN_CLIENT": client,
        **environment,
    }
    command = [*shell.split(), str(SCRIPT), *arguments]
    told = await asyncio.to_thread(subprocess.run, command, env=variables, capture_output=True, timeout=60)
    return told.returncode, told.stderr.decode()


def run(tmp_path: Path, steps: Callable[[Hook], Coroutine[None, None, None]], limits: Limits = Limits()) -> None:  # noqa: B008
    async def main() -> None:
        (tmp_path / "drop").mkdir(exist_ok=True)
        async with hook(tmp_path, None, limits) as running:
            await steps(running)

    asyncio.run(main())


@CLIENTS
@pytest.mark.parametrize("shell", ["dash", "bash --posix"])
def test_an_event_arrives_and_what_was_left_out_is_filled_in(tmp_path: Path, client: str, shell: str) -> None:
    async def steps(running: Hook) -> None:
        assert await tell(tmp_path, *ALICE, "prev_gw=fa22", client=client, shell=shell) == (0, "")
        left = ["type=deregister", *ALICE[1:], "source=kea"]
        assert await tell(tmp_path, *left, client=client, shell=shell) == (0, "")
        came, gone = await running.waiting()
        assert (came.type, came.agent, came.access_gw, came.prev_gw) == ("register", AGENT, AGENT, "fa22")
        assert (came.lifetime_s, gone.lifetime_s, came.source, gone.source) == (1800, 0, "manual", "kea")
        # the sequence is the time of observation as NTP tells it, so a later event has a higher one
        assert came.seq >> 32 == came.observed_at + 2_208_988_800
        assert came.seq < gone.seq

    run(tmp_path, steps)


@CLIENTS
def test_only_what_the_agent_has_is_a_success(tmp_path: Path, client: str) -> None:
    async def steps(running: Hook) -> None:
        once = [*ALICE, "event_id=once", "seq=7000000000000000000", "observed_at=1"]
        code, said = await tell(tmp_path, *once, client=client)
        assert code == 65
        assert "observed_at: 1: is " in said
        assert await tell(tmp_path, *ALICE, "event_id=b", client=client) == (0, "")
        same = (await running.waiting())[0]
        fields = [*ALICE, "event_id=b", f"seq={same.seq}", f"observed_at={same.observed_at}"]
        assert await tell(tmp_path, *fields, client=client) == (0, "")
        code, said = await tell(tmp_path, *ALICE, "seq=9", client=client)
        assert code == 65
        assert '"stale"' in said
        assert not list((tmp_path / "drop").iterdir())

    run(tmp_path, steps)


HOSTILE = [
    "$(touch /tmp/owned)",
    "`id`",
    '"; rm -rf /; "',
    "a\\",
    "\\u0041",
    '","spi":"1',
    "-n",
    "--help",
    "%s%n",
    "*",
    "~root",
    "é☃𝄞",
    "a  b",
    "${HOME}",
    "!!",
    "a'b",
    "|cat",
    "=",
]


@CLIENTS
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_arrives_as_it_is(tmp_path: Path, client: str, value: str) -> None:
    bodies = tmp_path / "bodies"
    bodies.mkdir()

    # nobody listens, so the script leaves it in the drop directory: there its own bytes can be seen
    code, _said = asyncio.run(tell(tmp_path, *ALICE, f"session_id={value}", client=client, ROAMVPN_DROP=str(bodies)))
    assert code == 75
    (body,) = bodies.iterdir()
    raw = body.read_bytes()
    if value.isascii():
        assert parse_event(raw).session_id == value
    else:
        with pytest.raises(InputError, match="session_id"):
            parse_event(raw)
    assert value.encode() in raw.replace(b'\\"', b'"').replace(b"\\\\", b"\\")


@CLIENTS
def test_hostile_values_reach_the_spool_through_a_socket(tmp_path: Path, client: str) -> None:
    ascii_only = [value for value in HOSTILE if value.isascii()]

    async def steps(running: Hook) -> None:
        for value in ascii_only:
            assert await tell(tmp_path, *ALICE, f"session_id={value}", client=client) == (0, "")
        assert [event.session_id for event in await running.waiting()] == ascii_only
        code, said = await tell(tmp_path, *ALICE, "session_id=é", client=client)
        assert code == 65
        assert "session_id" in said

    run(tmp_path, steps)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.binary(max_size=60).filter(lambda each: b"\x00" not in each), field=st.sampled_from(["nai", "session_id"])
)
def test_any_bytes_arrive_as_they_are_or_are_refused(tmp_path: Path, value: bytes, field: str) -> None:
    drop = tmp_path / "bytes"
    shutil.rmtree(drop, ignore_errors=True)
    drop.mkdir()
    given_fields = [each for each in ALICE if not each.startswith(field)]
    code, _said = asyncio.run(tell(tmp_path, *given_fields, field.encode() + b"=" + value, ROAMVPN_DROP=str(drop)))
    kept = list(drop.iterdir())
    if any(each < 0x20 or each == 0x7F for each in value):
        assert (code, kept) == (64, [])
        return
    assert code == 75
    raw = kept[0].read_bytes()
    quoted = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    assert b'"%s":"%s"' % (field.encode(), quoted) in raw
    with suppress(InputError):
        assert str(getattr(parse_event(raw), field)).casefold() == value.decode().casefold()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("type",),
        ("--to",),
        ("--to", "../etc", "a=b"),
        ("=value",),
        ("NAI=alice",),
        ("a;b=c",),
        ("na\ni=c",),
        (*ALICE, "nai=bob@isp3.example"),
        (*ALICE, "seq=1e3"),
        (*ALICE, "seq=08"),
        (*ALICE, "seq="),
        (*ALICE, "seq=" + "9" * 21),
        (*ALICE, "session_id=a\nb"),
        (*ALICE, "session_id=a\x7fb"),
        (*ALICE, "session_id=" + "x" * 1025),
    ],
)
def test_wrong_usage_is_told_and_goes_nowhere(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async def steps(running: Hook) -> None:
        code, said = await tell(tmp_path, *arguments)
        assert code == 64
        assert said.startswith("roamvpn-event: ")
        assert said.count("\n") == 1
        assert running.counted() == {}

    run(tmp_path, steps)


@CLIENTS
def test_an_event_waits_for_an_agent_that_is_away(tmp_path: Path, client: str) -> None:
    (tmp_path / "drop").mkdir()
    code, said = asyncio.run(tell(tmp_path, *ALICE, client=client))
    assert code == 75
    assert "the event waits" in said
    (left,) = (tmp_path / "drop").iterdir()
    assert left.name.endswith(".events.json")
    assert left.stat().st_mode & 0o777 == 0o640

    async def steps(running: Hook) -> None:
        drop = DropDirectory(tmp_path / "drop", running.intake)
        watch = asyncio.create_task(drop.watch())
        events = running.spool.events()
        first = (await anext(events)).event
        # and one that is left while the agent watches
        elsewhere = {"ROAMVPN_SOCKET": str(tmp_path / "nowhere.sock")}
        assert (await tell(tmp_path, "type=deregister", *ALICE[1:], client=client, **elsewhere))[0] == 75
        second = (await anext(events)).event
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        # cut short between spool and removal, it is a duplicate
        assert await drop.sweep()
        assert (first.type, second.type) == ("register", "deregister")
        assert not list((tmp_path / "drop").iterdir())

    run(tmp_path, steps)


@CLIENTS
@pytest.mark.parametrize("limits", [Limits(waiting=0), Limits(events=0)], ids=["429", "503"])
def test_what_the_agent_has_no_room_for_waits_too(tmp_path: Path, client: str, limits: Limits) -> None:
    async def steps(_running: Hook) -> None:
        assert (await tell(tmp_path, *ALICE, client=client))[0] == 75
        assert len(list((tmp_path / "drop").iterdir())) == 1

    run(tmp_path, steps, limits)


def test_a_drop_directory_that_is_full_or_gone_is_said(tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    code, said = asyncio.run(tell(tmp_path, *ALICE))
    assert (code, "cannot be written" in said) == (73, True)
    drop.mkdir()
    for number in range(3):
        (drop / f"{number}").touch()
    code, said = asyncio.run(tell(tmp_path, *ALICE, ROAMVPN_DROP_MOST="3"))
    assert (code, "is full" in said) == (73, True)
    assert len(list(drop.iterdir())) == 3


@CLIENTS
def test_it_tries_again_for_a_moment(tmp_path: Path, client: str) -> None:
    async def main() -> None:
        (tmp_path / "drop").mkdir()
        async with hook(tmp_path, None) as running:
            telling = asyncio.create_task(
                tell(
                    tmp_path,
                    *ALICE,
                    client=client,
                    ROAMVPN_SOCKET=str(tmp_path / "late" / "hook.sock"),
                    ROAMVPN_TRIES="9",
                )
            )
            (tmp_path / "late").mkdir(mode=0o750)
            refused = asyncio.Event()

            async def not_yet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.close()
                refused.set()

            early = await asyncio.start_unix_server(not_yet, str(tmp_path / "late" / "hook.sock"))
            await refused.wait()
            early.close()
            runner = await serve(app(running.intake), tmp_path / "late" / "hook.sock")
            assert await telling == (0, "")
            await runner.cleanup()

    asyncio.run(main())
