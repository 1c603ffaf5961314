"""The drop directory: taken when whole, in order, once; left where there is no room."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import pytest

from roamvpn.agent import drop as module
from roamvpn.agent.drop import DropDirectory
from roamvpn.agent.spool_file import Limits
from roamvpn.tables.problems import RoamvpnError
from tests.hooked import NOW, Hook, fields, hook

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path


def leave(directory: Path, number: int, body: bytes | None = None, form: str = "events") -> Path:
    """As the script does, which writes beside and renames; from elsewhere, so that only the rename is to be seen."""
    new = directory.parent / f"new-{number}"
    new.write_bytes(json.dumps(fields(number)).encode() if body is None else body)
    os.utime(new, (NOW, NOW + number))
    return new.rename(directory / f"x{99 - number}.{form}.json")


def run(
    tmp_path: Path,
    steps: Callable[[Hook, DropDirectory], Coroutine[None, None, None]],
    limits: Limits = Limits(),  # noqa: B008
) -> None:
    async def main() -> None:
        async with hook(tmp_path, limits=limits) as running:
            (tmp_path / "drop").mkdir(exist_ok=True)
            await steps(running, DropDirectory(tmp_path / "drop", running.intake))

    asyncio.run(main())


def test_what_is_there_is_taken_in_the_order_in_which_it_came(tmp_path: Path) -> None:
    async def steps(running: Hook, drop: DropDirectory) -> None:
        for number in range(1, 21):
            leave(drop.path, number)
        (drop.path / ".new-4").write_text("half")
        (drop.path / "README").write_text("theirs")
        assert await drop.sweep()
        assert [each.event_id for each in await running.waiting()] == [f"e-{number}" for number in range(1, 21)]
        assert sorted(each.name for each in drop.path.iterdir()) == [".new-4", "README"]

    run(tmp_path, steps)


def test_what_comes_is_noticed_without_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(running: Hook, drop: DropDirectory) -> None:
        # so long that whoever waits for a time, not for the directory, waits for ever
        monkeypatch.setattr(module, "_LATER", 1e6)
        swept = asyncio.Event()
        sweep = drop.sweep

        async def watched() -> bool:
            done = await sweep()
            swept.set()
            return done

        monkeypatch.setattr(drop, "sweep", watched)
        watch = asyncio.create_task(drop.watch())
        events = running.spool.events()
        for number in (1, 2, 3):
            # it has looked, and found nothing more
            await swept.wait()
            swept.clear()
            leave(drop.path, number)
            assert (await anext(events)).event.event_id == f"e-{number}"
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

    run(tmp_path, steps)


def test_what_is_no_event_goes_and_is_counted(tmp_path: Path) -> None:
    async def steps(running: Hook, drop: DropDirectory) -> None:
        leave(drop.path, 1, b"nonsense")
        leave(drop.path, 2, b"x" * 100_000)
        leave(drop.path, 3, b"{}", "kea")
        leave(drop.path, 4)
        assert await drop.sweep()
        assert running.counted() == {("events", "rejected"): 2, ("kea", "rejected"): 1, ("events", "accepted"): 1}
        assert not list(drop.path.iterdir())

    run(tmp_path, steps)


def test_pipes_and_links_are_not_read(tmp_path: Path) -> None:
    async def steps(running: Hook, drop: DropDirectory) -> None:
        outside = tmp_path / "outside"
        outside.write_text(json.dumps(fields(1)))
        (drop.path / "a.events.json").symlink_to(outside)
        os.mkfifo(drop.path / "b.events.json")
        (drop.path / "c.events.json").mkdir()
        (drop.path / "d.events.json").symlink_to(tmp_path / "nowhere")
        assert await drop.sweep()
        assert running.counted() == {}
        assert [each.name for each in drop.path.iterdir()] == ["c.events.json"]
        assert outside.exists()

    run(tmp_path, steps)


def test_what_there_is_no_room_for_stays(tmp_path: Path) -> None:
    async def steps(running: Hook, drop: DropDirectory) -> None:
        for number in (1, 2):
            leave(drop.path, number)
        assert not await drop.sweep()
        assert [each.name for each in drop.path.iterdir()] == ["x97.events.json"]
        running.spool.confirm((await anext(running.spool.events())).id)
        assert await drop.sweep()
        assert not list(drop.path.iterdir())

    run(tmp_path, steps, Limits(events=1))


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    async def steps(running: Hook, _drop: DropDirectory) -> None:
        with pytest.raises(RoamvpnError, match="cannot be watched"):
            await DropDirectory(tmp_path / "nowhere", running.intake).watch()

    run(tmp_path, steps)


@pytest.mark.parametrize("away", ["removed", "renamed"])
def test_another_directory_of_the_name_is_watched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    async def steps(running: Hook, drop: DropDirectory) -> None:
        monkeypatch.setattr(module, "_LATER", 0.01)
        swept = asyncio.Event()
        sweep = drop.sweep

        async def watched() -> bool:
            done = await sweep()
            swept.set()
            return done

        monkeypatch.setattr(drop, "sweep", watched)
        watch = asyncio.create_task(drop.watch())
        await swept.wait()
        if away == "removed":
            drop.path.rmdir()
        else:
            drop.path.rename(tmp_path / "elsewhere")
        drop.path.mkdir()
        events = running.spool.events()
        for number in (1, 2):
            swept.clear()
            leave(drop.path, number)
            assert (await anext(events)).event.event_id == f"e-{number}"
            await swept.wait()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

    run(tmp_path, steps)
