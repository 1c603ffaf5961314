"""hooks.d: whose executables run, what they are told, and that nobody waits for them."""

from __future__ import annotations

import asyncio
import os
import select
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter
from structlog.testing import capture_logs

from roamvpn.agent.user_hooks import HookLimits, UserHooks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

ME = os.getuid()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "hooks.d"
    path.mkdir(mode=0o755)
    return path


def script(directory: Path, name: str, text: str, mode: int = 0o755) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def run(
    directory: Path,
    steps: Callable[[UserHooks], Coroutine[None, None, None]],
    limits: HookLimits = HookLimits(),  # noqa: B008
    owner: int = ME,
) -> dict[str, int]:
    """What ran, by result."""
    ran = Counter("hooks", "by result", ["result"], registry=CollectorRegistry())

    async def main() -> None:
        hooks = UserHooks(directory, limits=limits, owner=owner, ran=ran)
        await steps(hooks)
        await hooks.close()

    asyncio.run(main())
    samples = [sample for metric in ran.collect() for sample in metric.samples]
    return {each.labels["result"]: int(each.value) for each in samples if each.name.endswith("_total")}


def once(event: str = "registered", **values: str | int) -> Callable[[UserHooks], Coroutine[None, None, None]]:
    async def steps(hooks: UserHooks) -> None:
        hooks.changed(event, values)
        await hooks.idle()

    return steps


def test_an_executable_is_told_what_happened_to_whom_and_nothing_else(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROAMVPN_PASSWORD", "hidden")
    script(directory, "10-tell", f'echo "$1 $#"; env | sort > {tmp_path}/told; pwd; cat')
    with capture_logs() as logs:
        assert run(directory, once(nai="alice@isp3.example", generation=7)) == {"ok": 1}
    told = dict(line.split("=", 1) for line in (tmp_path / "told").read_text().splitlines())
    assert {name: value for name, value in told.items() if name.startswith("ROAMVPN_")} == {
        "ROAMVPN_EVENT": "registered",
        "ROAMVPN_NAI": "alice@isp3.example",
        "ROAMVPN_GENERATION": "7",
    }
    assert set(told) <= {
        "ROAMVPN_EVENT",
        "ROAMVPN_NAI",
        "ROAMVPN_GENERATION",
        "PATH",
        "LANG",
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
    }
    assert logs[-1]["output"] == "registered 1\n/\n"


def test_they_run_in_the_order_of_their_names(directory: Path, tmp_path: Path) -> None:
    for name in ("20-b", "10-a", "30-c"):
        script(directory, name, f"echo {name} >> {tmp_path}/order")
    assert run(directory, once()) == {"ok": 3}
    assert (tmp_path / "order").read_text().split() == ["10-a", "20-b", "30-c"]


@pytest.mark.parametrize("value", ["$(touch {0})", "`touch {0}`", "; touch {0}", "a\nb", "\x1b[2J", "\x00"])
def test_a_hostile_value_is_only_a_value(directory: Path, tmp_path: Path, value: str) -> None:
    script(directory, "10-print", f'printf %s "$ROAMVPN_NAI" > {tmp_path}/told')
    hostile = value.format(tmp_path / "owned")
    assert run(directory, once(nai=hostile)) == {"ok": 1}
    assert (tmp_path / "told").read_text() == "".join(each if each.isprintable() else "?" for each in hostile)
    assert not (tmp_path / "owned").exists()


def test_only_what_nobody_else_can_write_is_run(directory: Path, tmp_path: Path) -> None:
    script(directory, "10-good", f"echo good >> {tmp_path}/ran")
    script(directory, "20-group", f"echo bad >> {tmp_path}/ran", 0o775)
    script(directory, "30-others", f"echo bad >> {tmp_path}/ran", 0o757)
    (directory / "40-link").symlink_to(script(tmp_path, "elsewhere", f"echo bad >> {tmp_path}/ran"))
    script(directory, "50-plain", f"echo bad >> {tmp_path}/ran", 0o644)
    script(directory, "60-old.dpkg-old", f"echo bad >> {tmp_path}/ran")
    script(directory, "70-backup~", f"echo bad >> {tmp_path}/ran")
    (directory / "80-directory").mkdir()
    assert run(directory, once()) == {"ok": 1, "ignored": 2}
    assert (tmp_path / "ran").read_text() == "good\n"


def test_another_owner_is_not_trusted_nor_is_a_directory_that_others_can_write(directory: Path) -> None:
    script(directory, "10-good", "exit 0")
    assert run(directory, once(), owner=ME + 1) == {"ignored": 1}
    directory.chmod(0o777)
    assert run(directory, once()) == {"ignored": 1}


def test_no_directory_is_no_hooks(tmp_path: Path) -> None:
    assert run(tmp_path / "nowhere", once()) == {}


def test_a_failure_is_counted_and_logged_with_the_beginning_of_its_output(directory: Path) -> None:
    script(directory, "10-bad", "yes | head -c 1000000; echo no >&2; exit 3")
    script(directory, "20-no-interpreter", "").write_text("#!/nowhere\n")
    with capture_logs() as logs:
        assert run(directory, once(), HookLimits(output=100)) == {"failed": 2}
    (told,) = [each for each in logs if each["event"] == "hook ran"]
    assert told["code"] == 3
    assert told["output"] == "y\n" * 50


def test_what_takes_too_long_is_killed_with_its_children(directory: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    script(directory, "10-slow", f"exec 3>{tmp_path}/alive; echo begun >&3; (sleep 1000)")
    try:
        assert run(directory, once(), HookLimits(timeout=2.0)) == {"killed": 1}
        assert os.read(reader, 100) == b"begun\n"
        # nobody is left who could write: the end of the pipe comes as soon as the last of them is gone
        assert select.select([reader], [], [], 10)[0]
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)


def test_what_is_left_running_does_not_hold_up_the_next(directory: Path, tmp_path: Path) -> None:
    script(directory, "10-daemon", f"sleep 1000 & echo $! > {tmp_path}/pid; echo done")
    with capture_logs() as logs:
        assert run(directory, once(), HookLimits(timeout=20)) == {"ok": 1}
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert logs[-1]["output"] == "done\n"


def test_nobody_waits_and_few_run_at_a_time(directory: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    script(directory, "10-wait", f"echo x >> {tmp_path}/begun; read line < {tmp_path}/gate")

    async def steps(hooks: UserHooks) -> None:
        for number in range(8):
            # returns although none of them can end
            hooks.changed("registered", {"number": number})
        gate = os.open(tmp_path / "gate", os.O_RDWR)
        try:
            assert len(hooks._workers) == 2
            os.write(gate, b"\n" * 8)
            await hooks.idle()
        finally:
            os.close(gate)

    # five wait, the other three are left out
    assert run(directory, steps, HookLimits(running=2, waiting=5)) == {"dropped": 3, "ok": 5}
    assert (tmp_path / "begun").read_text() == "x\n" * 5


def test_the_end_kills_what_runs_and_forgets_what_waits(directory: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    script(directory, "10-slow", f"exec 3>{tmp_path}/alive; echo begun >&3; sleep 1000")

    async def steps(hooks: UserHooks) -> None:
        begun = asyncio.Event()
        asyncio.get_running_loop().add_reader(reader, begun.set)
        for _ in range(3):
            hooks.changed("registered", {})
        await begun.wait()
        asyncio.get_running_loop().remove_reader(reader)

    try:
        assert run(directory, steps, HookLimits(running=1)) == {}
        assert os.read(reader, 100) == b"begun\n"
        assert select.select([reader], [], [], 10)[0]
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    ("event", "name"), [("a b", "x"), ("registered", "LD_PRELOAD"), ("registered", "a=b"), ("-x", "x")]
)
def test_names_are_words(directory: Path, event: str, name: str) -> None:
    async def steps(hooks: UserHooks) -> None:
        with pytest.raises(ValueError, match="are words"):
            hooks.changed(event, {name: "1"})

    assert run(directory, steps) == {}
