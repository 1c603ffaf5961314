"""The spool: on disk before it answers, once each, in order, until it is confirmed; across ends of all kinds."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from roamvpn.agent.events import event_of
from roamvpn.agent.spool import Spool
from roamvpn.agent.spool_file import Limits, Outcome
from roamvpn.tables.problems import RoamvpnError
from tests.hooked import NOW, fields

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from roamvpn.agent.events import Event
    from roamvpn.agent.spool import Spooled


def event(number: int = 1, **changes: Any) -> Event:  # noqa: ANN401
    return event_of(fields(number, **changes))


def run(
    path: Path,
    steps: Callable[[Spool], Coroutine[None, None, None]],
    limits: Limits = Limits(),  # noqa: B008
    clock: Callable[[], float] = lambda: NOW,
) -> None:
    async def main() -> None:
        async with Spool(path, clock, limits) as spool:
            await steps(spool)

    asyncio.run(main())


async def take(spool: Spool, count: int) -> list[Spooled]:
    found = []
    async for spooled in spool.events():
        found.append(spooled)
        if len(found) == count:
            break
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "events.db"


def test_what_is_not_confirmed_comes_again_after_a_restart_in_order(path: Path) -> None:
    async def first(spool: Spool) -> None:
        for number in range(1, 6):
            assert await spool.offer(event(number)) is Outcome.ACCEPTED
        one, two, *_ = await take(spool, 5)
        spool.confirm(two.id)
        spool.confirm(one.id)

    async def second(spool: Spool) -> None:
        assert spool.held == 3
        assert [each.event for each in await take(spool, 3)] == [event(3), event(4), event(5)]

    run(path, first)
    run(path, second)


def test_a_duplicate_is_known_across_restarts_even_when_it_was_confirmed(path: Path) -> None:
    async def first(spool: Spool) -> None:
        await spool.offer(event())
        (spooled,) = await take(spool, 1)
        spool.confirm(spooled.id)

    async def second(spool: Spool) -> None:
        assert spool.held == 0
        assert await spool.offer(event()) is Outcome.DUPLICATE

    run(path, first)
    run(path, second)


def test_another_event_under_a_known_name_is_refused(path: Path) -> None:
    async def steps(spool: Spool) -> None:
        await spool.offer(event(1))
        assert await spool.offer(event(2, event_id="e-1")) is Outcome.REJECTED
        assert spool.held == 1

    run(path, steps)


def test_an_older_seq_is_stale_across_restarts_for_this_user_only(path: Path) -> None:
    async def first(spool: Spool) -> None:
        await spool.offer(event(5))

    async def second(spool: Spool) -> None:
        assert await spool.offer(event(4)) is Outcome.STALE
        assert await spool.offer(event(5, event_id="other")) is Outcome.STALE
        assert await spool.offer(event(4, event_id="b", nai="bob@isp3.example")) is Outcome.ACCEPTED
        assert await spool.offer(event(6)) is Outcome.ACCEPTED

    run(path, first)
    run(path, second)


def test_sequences_are_compared_without_a_sign(path: Path) -> None:
    async def steps(spool: Spool) -> None:
        assert await spool.offer(event(1, seq=2**63 - 1)) is Outcome.ACCEPTED
        assert await spool.offer(event(2, seq=2**64 - 1)) is Outcome.ACCEPTED
        assert await spool.offer(event(3, seq=2**63)) is Outcome.STALE

    run(path, steps)


def test_the_late_end_of_an_earlier_session_does_not_end_the_next(path: Path) -> None:
    async def steps(spool: Spool) -> None:
        await spool.offer(event(1, session_id="first"))
        await spool.offer(event(2, session_id="second"))
        late = event(3, type="deregister", lifetime_s=0, session_id="first")
        assert await spool.offer(late) is Outcome.STALE
        # a refresh in the name of another source does not change whose session it is
        await spool.offer(event(4, type="refresh", session_id="first"))
        assert await spool.offer(event(5, type="deregister", lifetime_s=0, session_id="second")) is Outcome.ACCEPTED

    run(path, steps)


def test_a_full_spool_takes_nothing_until_something_is_confirmed(path: Path) -> None:
    async def steps(spool: Spool) -> None:
        assert [await spool.offer(event(number)) for number in (1, 2, 3)] == ["accepted", "accepted", "full"]
        # what was refused is not remembered as seen
        spool.confirm((await take(spool, 1))[0].id)
        assert await spool.offer(event(3)) is Outcome.ACCEPTED
        assert await spool.offer(event(3)) is Outcome.DUPLICATE

    run(path, steps, Limits(events=2))


@pytest.mark.parametrize("limits", [Limits(ids=2), Limits(users=2)])
def test_what_is_remembered_is_bounded_too(path: Path, limits: Limits) -> None:
    async def steps(spool: Spool) -> None:
        taken = [await spool.offer(event(number, nai=f"u{number}@isp3.example")) for number in (1, 2, 3)]
        assert taken == ["accepted", "accepted", "full"]

    run(path, steps, limits)


def test_ids_and_users_are_forgotten_after_their_time(path: Path) -> None:
    now = NOW

    async def steps(spool: Spool) -> None:
        nonlocal now
        await spool.offer(event(5))
        now = NOW + 99
        assert await spool.offer(event(5)) is Outcome.DUPLICATE
        now = NOW + 199
        assert await spool.offer(event(6, nai="bob@isp3.example")) is Outcome.ACCEPTED
        # the id is forgotten, the sequence is not
        assert await spool.offer(event(5)) is Outcome.STALE
        now = NOW + 2001
        assert await spool.offer(event(7, nai="bob@isp3.example")) is Outcome.ACCEPTED
        assert await spool.offer(event(4)) is Outcome.ACCEPTED

    run(path, steps, Limits(remember_ids=100, remember_users=1000), lambda: now)


def test_a_consumer_that_waits_is_woken_and_let_go_at_the_end(path: Path) -> None:
    async def main() -> list[int]:
        spool = Spool(path, lambda: NOW)
        found: list[int] = []
        arrived = asyncio.Event()

        async def consume() -> None:
            async for spooled in spool.events():
                found.append(spooled.event.seq)
                spool.confirm(spooled.id)
                arrived.set()

        consumer = asyncio.create_task(consume())
        for number in (1, 2):
            arrived.clear()
            await spool.offer(event(number))
            await arrived.wait()
        await spool.close()
        await consumer
        return found

    assert asyncio.run(main()) == [event(1).seq, event(2).seq]


def test_whoever_goes_away_before_the_answer_has_still_been_heard(path: Path) -> None:
    async def steps(spool: Spool) -> None:
        asking = asyncio.create_task(spool.offer(event(1)))
        await asyncio.sleep(0)
        asking.cancel()
        assert await spool.offer(event(1)) is Outcome.DUPLICATE

    run(path, steps)


def test_what_waits_for_the_disk_is_written_together(path: Path) -> None:
    async def steps(spool: Spool) -> None:
        begun = 0
        commit = spool._file.commit

        def counted(*arguments: Any) -> list[Outcome]:  # noqa: ANN401
            nonlocal begun
            begun += 1
            return commit(*arguments)

        spool._file.commit = counted  # type: ignore[assignment, method-assign]
        outcomes = await asyncio.gather(*(spool.offer(event(number)) for number in range(1, 401)))
        assert outcomes == [Outcome.ACCEPTED] * 400
        assert begun <= 2

    run(path, steps)


def test_the_order_of_users_events_survives_a_crowd(path: Path) -> None:
    async def steps(spool: Spool) -> None:
        async def user(name: int) -> None:
            for number in range(1, 51):
                taken = await spool.offer(event(number, event_id=f"{name}-{number}", nai=f"u{name}@isp3.example"))
                assert taken is Outcome.ACCEPTED

        await asyncio.gather(*(user(name) for name in range(40)))
        seqs: dict[str, list[int]] = {}
        for spooled in await take(spool, 2000):
            seqs.setdefault(spooled.event.nai, []).append(spooled.event.seq)
        assert len(seqs) == 40
        assert all(each == sorted(each) and len(each) == 50 for each in seqs.values())

    run(path, steps)


def test_a_disk_that_is_full_is_no_end(path: Path) -> None:
    async def steps(spool: Spool) -> None:
        await spool.offer(event(1))
        spool.confirm((await take(spool, 1))[0].id)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, limit[1]))
        try:
            offers = [spool.offer(event(number, evidence={"long": "x" * 250})) for number in range(2, 200)]
            with pytest.raises(RoamvpnError, match="cannot be written"):
                await asyncio.gather(*offers)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert await spool.offer(event(300)) is Outcome.ACCEPTED
        # and what could not be written as confirmed is now
        assert spool.held == 1

    run(path, steps)


def test_an_event_that_this_version_cannot_read_does_not_stand_in_the_way(path: Path) -> None:
    async def first(spool: Spool) -> None:
        await spool.offer(event(1))
        await spool.offer(event(2))

    async def second(spool: Spool) -> None:
        assert [each.event for each in await take(spool, 1)] == [event(2)]

    async def third(spool: Spool) -> None:
        assert spool.held == 1

    run(path, first)
    with sqlite3.connect(path) as connection:
        connection.execute("""UPDATE spool SET body = '{"v":2}' WHERE id = 1""")
    connection.close()
    run(path, second)
    run(path, third)


def test_the_file_is_closed_to_others_and_to_a_second_process(path: Path) -> None:
    async def steps(spool: Spool) -> None:
        await spool.offer(event(1))
        assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(RoamvpnError, match="in use by another process"):
            Spool(path, lambda: NOW)

    run(path, steps)


def test_another_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    path.chmod(0o600)

    async def main() -> None:
        with pytest.raises(RoamvpnError, match="is a database, but no spool of events"):
            Spool(path, lambda: NOW)

    asyncio.run(main())
