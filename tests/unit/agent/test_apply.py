"""The applier against stand-ins: callbacks, bursts, failures, restarts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from roamvpn.agent import kernel as agent_kernel
from roamvpn.agent.apply import Applier
from roamvpn.agent.user import Limits, Outcome
from roamvpn.gateway import kernel as gateway_kernel
from roamvpn.policy.compile import Compiler, add, remove
from roamvpn.policy.keys import derived
from roamvpn.render.artefacts import Renderer
from roamvpn.signalling.effects import Apply, Order, change
from roamvpn.stores.templates import templates
from roamvpn.tables.gateway_state import GatewayState
from roamvpn.tables.records import Session
from tests.documents import Documents
from tests.unit.agent.stand_ins import StandInCharon, StandInKernel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from roamvpn.policy.legs import Contribution

ALICE, BOB, CAROL, ERIN, LEO = (f"{name}@isp3.example" for name in ("alice", "bob", "carol", "erin", "ivan"))
TABLES = Documents().site().tables
COMPILER = Compiler(TABLES, None, derived(b"k" * 32))
LIMITS = Limits(deadline=0.3, drain=0.0, retry_first=0.02, retry_last=0.1)
FA = "fa21"


def legs(nai: str, agent: str = FA, generation: int = 0, at: str = FA) -> tuple[Contribution, ...]:
    """What a session sets at a gateway."""
    session = Session(session_id="s-1", nai=nai, foreign_agent=agent, generation=generation)
    return tuple(each for each in COMPILER.session(session)[0] if each.gateway == at)


def change_of(nai: str, before: tuple[Contribution, ...], after: tuple[Contribution, ...], seq: int = 1) -> Apply:
    new, old = change(before, after)
    return Apply(nai, seq, new, old, initiate=True, wait=True)


def with_class(contribution: Contribution, dscp: int) -> Contribution:
    """The same with another class."""
    assert contribution.leg is not None
    return contribution._replace(leg=contribution.leg._replace(dscp=dscp))


class Bench:
    """An applier with its stand-ins, and what it told."""

    def __init__(
        self,
        charon: StandInCharon,
        kernel: StandInKernel,
        make: Callable[[], Applier],
        alarms: list[tuple[str, str, str]],
        outcomes: list[Outcome],
    ) -> None:
        self.charon, self.kernel, self.alarms, self.outcomes = charon, kernel, alarms, outcomes
        self._make = make
        self.applier = make()
        self.told: list[str] = []
        self.state = GatewayState(self.applier.desired.state.gateway)

    async def restart(self, state: GatewayState) -> None:
        """Another process, which remembers nothing."""
        await self.applier.close()
        self.applier = self._make()
        await self.applier.start(state)

    async def submit(self, effect: Apply, label: str = "") -> bool:
        """Submit and wait for the end."""
        return await self.begin(effect, label)

    def begin(self, effect: Apply, label: str = "") -> asyncio.Future[bool]:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        for contribution in effect.set:
            add(self.state, contribution)
        for contribution in effect.delete:
            remove(self.state, contribution)

        def done(ok: bool) -> None:
            self.told.append(f"{label}done")
            future.set_result(ok)

        self.applier.submit(effect, lambda: self.told.append(f"{label}loaded"), done)
        return future

    def filters(self) -> dict[str, str]:
        return {name: line for name, line in self.kernel.objects.items() if name.startswith("filter block 5222")}


@asynccontextmanager
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Bench]:  # noqa: ANN401
    charon, kernel = StandInCharon(tmp_path / "vici"), StandInKernel()
    monkeypatch.setattr(agent_kernel, "_batch", kernel.batch)
    monkeypatch.setattr(gateway_kernel, "live", kernel.live)
    credentials = tmp_path / "swanctl"
    for gateway in TABLES.network.gateways:
        (credentials / "x509").mkdir(parents=True, exist_ok=True)
        (credentials / "x509" / f"{gateway}.pem").write_text("certificate")
    await charon.start()
    at = options.pop("at", FA)
    limits = options.pop("limits", LIMITS)
    alarms: list[tuple[str, str, str]] = []
    outcomes: list[Outcome] = []

    def make() -> Applier:
        return Applier(
            at,
            TABLES.network,
            Renderer(TABLES.network, templates()),
            vici=str(tmp_path / "vici"),
            credentials=credentials,
            limits=limits,
            alarm=lambda *alarm: alarms.append(alarm),
            ended=outcomes.append,
            **options,
        )

    made = Bench(charon, kernel, make, alarms, outcomes)
    await made.applier.start(GatewayState(at))
    try:
        yield made
    finally:
        await made.applier.close()
        await charon.stop()


async def until(holds: Callable[[], object]) -> None:
    """Let others work until this holds; whoever waits for ever meets the limit of `run`."""
    while not holds():  # noqa: ASYNC110 - stand-ins have no events for all that is waited for here
        await asyncio.sleep(0.001)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, pytest.MonkeyPatch]:
    return tmp_path, monkeypatch


Place = tuple["Path", pytest.MonkeyPatch]


def test_loaded_comes_before_done_and_each_once(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            assert await made.submit(change_of(ALICE, (), legs(ALICE)))
            assert made.told == ["loaded", "done"]
            assert made.filters()
            assert [outcome.ok for outcome in made.outcomes] == [True]

    run(work())


def test_a_secret_is_loaded_before_its_connection_and_both_go_once_it_is_up(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            await made.submit(change_of(ALICE, (), legs(ALICE)))
            await made.applier.settled()
            loads = [line.partition(" ")[0] for line in made.charon.log if line.startswith("load-")]
            assert loads == ["load-shared", "load-conn"]
            assert not made.charon.connections
            assert not made.charon.secrets
            assert len(made.charon.sas) == 1

    run(work())


def test_a_prepared_leg_is_loaded_and_neither_raised_nor_marked(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            assert await made.submit(Apply(ALICE, 1, prepare=legs(ALICE)))
            assert made.charon.connections
            assert not made.charon.sas
            assert not made.filters()
            assert await made.submit(Apply(ALICE, 1, withdrawn=legs(ALICE)))
            await made.applier.settled()
            assert not made.charon.connections
            assert not made.kernel.objects

    run(work())


def test_who_prepared_waits_for_the_other_end(place: Place) -> None:
    # E2: the home agent brings up what the foreign agent has prepared
    async def work() -> None:
        async with bench(*place, limits=LIMITS._replace(deadline=10)) as made:
            await made.submit(Apply(ALICE, 1, prepare=legs(ALICE)))
            done = made.begin(Apply(ALICE, 1, set=legs(ALICE), prepared=legs(ALICE), wait=True))
            await until(made.filters)
            assert not done.done()
            assert not any(line.startswith("initiate") for line in made.charon.log)
            made.charon.up(next(iter(made.charon.connections)))
            assert await done

    run(work())


def test_a_move_keeps_the_old_filters_until_the_new_association_is_up(place: Place) -> None:
    async def work() -> None:
        async with bench(*place, at="ha31", limits=LIMITS._replace(deadline=10)) as made:
            old, new = legs(ALICE, at="ha31"), legs(ALICE, "fa22", 1, at="ha31")
            await made.submit(change_of(ALICE, (), old))
            before = made.filters()
            made.charon.dead = {leg.leg.name for leg in new if leg.leg is not None and leg.leg.peer == "fa22"}
            done = made.begin(change_of(ALICE, old, new, 2))
            (name,) = made.charon.dead
            await until(lambda: any(line == f"initiate {name}" for line in made.charon.log))
            assert made.filters() == before
            made.charon.up(name)
            assert await done
            assert made.filters() != before
            await made.applier.settled()
            assert sorted(made.charon.sas.values()) == sorted(leg.leg.name for leg in new if leg.leg is not None)

    run(work())


def test_what_does_not_come_up_is_told_and_changes_nothing_and_is_tried_again(place: Place) -> None:
    async def work() -> None:
        async with bench(*place, at="ha31") as made:
            old, new = legs(ALICE, at="ha31"), legs(ALICE, "fa22", 1, at="ha31")
            await made.submit(change_of(ALICE, (), old))
            before = made.filters()
            made.charon.dead = {leg.leg.name for leg in new if leg.leg is not None and leg.leg.peer == "fa22"}
            (name,) = made.charon.dead
            assert not await made.submit(change_of(ALICE, old, new, 2))
            assert made.filters() == before
            assert len(made.charon.sas) == 2
            assert [(nai, name in reason) for nai, _object, reason in made.alarms] == [(ALICE, True)]
            made.charon.dead.clear()
            await until(lambda: made.filters() != before)
            await made.applier.settled()
            assert sorted(made.charon.sas.values()) == sorted(leg.leg.name for leg in new if leg.leg is not None)

    run(work())


def test_where_the_kernel_refuses_one_filter_the_others_are_as_they_were(place: Place) -> None:
    async def work() -> None:
        async with bench(*place, at="ha31") as made:
            old = legs(ALICE, at="ha31")
            new = tuple(with_class(each, 10) for each in old)
            await made.submit(change_of(ALICE, (), old))
            before = made.filters()
            # the one that is set last, so that the one before it is replaced already
            made.kernel.refuse = {list(before)[-1]}
            assert not await made.submit(change_of(ALICE, old, new, 2))
            assert made.filters() == before
            assert made.alarms[0][0] == ALICE
            assert list(before)[-1] in made.alarms[0][2]
            made.kernel.refuse.clear()
            await until(lambda: all("set 40" in line for line in made.filters().values()))

    run(work())


def test_an_association_that_was_lost_is_set_up_again(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            await made.submit(change_of(ALICE, (), legs(ALICE)))
            await made.applier.settled()
            (unique,) = made.charon.sas
            made.charon.down(unique)
            await until(lambda: bool(made.charon.sas) and not made.charon.connections)
            assert unique not in made.charon.sas

    run(work())


def test_an_association_that_comes_up_when_nobody_wants_it_any_more_is_closed(place: Place) -> None:
    async def work() -> None:
        async with bench(*place, limits=LIMITS._replace(deadline=10)) as made:
            wanted = legs(ALICE)
            assert await made.submit(Apply(ALICE, 1, prepare=wanted))
            (name,) = made.charon.connections
            connection = made.charon.connections[name]
            assert await made.submit(Apply(ALICE, 1, withdrawn=wanted))
            await made.applier.settled()
            # the other end began while it was still loaded
            made.charon.connections[name] = connection
            made.charon.up(name)
            assert made.charon.sas
            await until(lambda: not made.charon.sas)

    run(work())


def test_a_charon_that_was_restarted_is_given_everything_again(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            await made.submit(change_of(ALICE, (), legs(ALICE)))
            await made.submit(change_of(BOB, (), legs(BOB)))
            await made.applier.settled()
            names = sorted(made.charon.sas.values())
            await made.charon.stop()
            await made.charon.start()
            await until(lambda: sorted(made.charon.sas.values()) == names)

    run(work())


def test_without_charon_a_change_fails_and_is_made_up_for(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            await made.charon.stop()
            assert not await made.submit(change_of(ALICE, (), legs(ALICE)))
            assert made.told == ["done"], "nothing was loaded"
            await made.charon.start()
            await until(lambda: made.charon.sas)

    run(work())


def test_what_somebody_else_has_unloaded_is_loaded_again(place: Place) -> None:
    # `swanctl --load-all`, which a service runs when charon starts, forgets what no file names
    async def work() -> None:
        async with bench(*place) as made:
            wanted = legs(ALICE)
            (name,) = {each.leg.name for each in wanted if each.leg is not None}
            made.charon.dead = {name}
            assert not await made.submit(change_of(ALICE, (), wanted))
            made.charon.connections.clear()
            made.charon.secrets.clear()
            made.charon.dead = set()
            await until(lambda: made.charon.sas)

    run(work())


def test_a_burst_comes_to_one_change_and_all_hear_of_it_in_order(place: Place) -> None:
    async def work() -> None:
        async with bench(*place, at="ha31") as made:
            stands: tuple[Contribution, ...] = ()
            futures = []
            for number in range(20):
                wanted = legs(ALICE, ("fa21", "fa21b", "fa22")[number % 3], number, at="ha31")
                futures.append(made.begin(change_of(ALICE, stands, wanted, number), f"{number} "))
                stands = wanted
            assert all(await asyncio.gather(*futures))
            assert [line for line in made.told if "done" in line] == [f"{number} done" for number in range(20)]
            assert [line for line in made.told if "loaded" in line] == [f"{number} loaded" for number in range(20)]
            assert sum(line.startswith("load-conn") for line in made.charon.log) < 6

    run(work())


def test_a_change_that_comes_while_another_is_made_is_not_answered_by_it(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            own, shared = legs(CAROL)
            await made.submit(change_of(CAROL, (), (own,)))
            seen: list[bool] = []

            def second() -> None:
                made.applier.submit(
                    change_of(CAROL, (), (shared,), 3),
                    lambda: seen.append("rv-e-pcn41" in made.charon.connections),
                    lambda ok: seen.append(ok and "link rv-e41" in made.kernel.objects),
                )

            # it comes while the first is switching filters, which is then told
            made.kernel.during = second
            assert await made.submit(change_of(CAROL, (own,), (with_class(own, 10),), 2))
            assert seen == []
            await until(lambda: len(seen) == 2)
            assert seen == [True, True]

    run(work())


def test_what_was_wished_before_is_not_brought_up_any_more(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            wanted = legs(ALICE)
            later: list[asyncio.Future[bool]] = []
            made.charon.during["load-conn"] = lambda: later.append(made.begin(change_of(ALICE, wanted, (), 2)))
            assert await made.submit(change_of(ALICE, (), wanted))
            assert await later[0]
            await made.applier.settled()
            assert not any(line.startswith("initiate") for line in made.charon.log)
            assert not made.kernel.objects
            assert not made.charon.connections

    run(work())


def test_nobody_begins_while_it_is_found_out_what_stands(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            later: list[asyncio.Future[bool]] = []
            made.charon.log.clear()
            made.charon.during["list-conns"] = lambda: later.append(made.begin(change_of(ALICE, (), legs(ALICE))))
            await made.applier.reconcile(GatewayState(FA))
            assert await later[0]
            loads = [number for number, line in enumerate(made.charon.log) if line.startswith("load-")]
            assert loads[0] > made.charon.log.index("get-shared")

    run(work())


def test_after_a_restart_the_old_filters_stay_until_the_new_association_is_up(place: Place) -> None:
    async def work() -> None:
        async with bench(*place, at="ha31", limits=LIMITS._replace(deadline=10)) as made:
            old, new = legs(ALICE, at="ha31"), legs(ALICE, "fa22", 1, at="ha31")
            await made.submit(change_of(ALICE, (), old))
            await made.applier.settled()
            before = made.filters()
            (name,) = made.charon.dead = {"rv-p1-u70694a63-fa22"}
            state = GatewayState("ha31")
            for each in new:
                add(state, each)
            await made.restart(state)
            await until(lambda: name in made.charon.connections)
            assert made.filters() == before
            assert len(made.charon.sas) == 2
            made.charon.up(name)
            await until(lambda: made.filters() != before)
            await made.applier.settled()
            assert sorted(made.charon.sas.values()) == sorted(leg.leg.name for leg in new if leg.leg is not None)
            assert await made.applier.drift() == []

    run(work())


def test_drift_is_told_and_reconciling_mends_it(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            await made.submit(change_of(ALICE, (), legs(ALICE)))
            await made.applier.settled()
            good = dict(made.kernel.objects)
            (marks,) = made.filters()
            made.kernel.objects[marks] = made.kernel.objects[marks].replace("mark 400001", "mark 400002")
            del made.kernel.objects["route 203.0.113.5 table 400000"]
            made.kernel.objects["route 203.0.113.99 table 400000"] = "route replace 203.0.113.99 dev lan table 400000"
            rows = {(row["object"], row["state"]) for row in await made.applier.drift()}
            assert rows == {
                (marks, "changed"),
                ("route 203.0.113.5 table 400000", "missing"),
                ("route 203.0.113.99 table 400000", "foreign"),
            }
            assert await made.applier.reconcile(made.state) == 1
            await made.applier.settled()
            assert made.kernel.objects == good

    run(work())


def test_one_user_who_waits_does_not_hold_up_another(place: Place) -> None:
    async def work() -> None:
        async with bench(*place, limits=LIMITS._replace(deadline=10, side_by_side=1)) as made:
            made.charon.dead = {leg.leg.name for leg in legs(ALICE) if leg.leg is not None}
            waits = made.begin(change_of(ALICE, (), legs(ALICE)))
            assert await made.submit(change_of(CAROL, (), legs(CAROL)))
            assert not waits.done()

    run(work())


def test_another_class_changes_the_filter_and_no_association(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            (one,) = legs(ALICE)
            await made.submit(change_of(ALICE, (), (one,)))
            await made.applier.settled()
            loads = len(made.charon.log)
            assert await made.submit(change_of(ALICE, (one,), (with_class(one, 10),), 2))
            await made.applier.settled()
            assert len(made.charon.log) == loads
            assert any("set 40" in line for line in made.filters().values())

    run(work())


def test_what_is_shared_comes_with_the_first_and_goes_with_the_last(place: Place) -> None:
    # F7
    async def work() -> None:
        async with bench(*place, at="pcn41") as made:
            one, two = legs(BOB, at="pcn41"), legs(CAROL, at="pcn41")
            await made.submit(change_of(BOB, (), one))
            device = "link rv-e21"
            assert device in made.kernel.objects
            assert await made.submit(change_of(CAROL, (), two))
            await made.submit(change_of(BOB, one, (), 2))
            await made.applier.settled()
            assert device in made.kernel.objects
            await made.submit(change_of(CAROL, two, (), 2))
            await made.applier.settled()
            assert not made.kernel.objects
            assert not made.charon.sas
            assert not made.charon.connections

    run(work())


def test_the_patents_order_deletes_first(place: Place) -> None:
    # D16
    async def work() -> None:
        async with bench(*place, at="ha31", order=Order.PATENT) as made:
            old, new = legs(ALICE, at="ha31"), legs(ALICE, "fa22", 1, at="ha31")
            await made.submit(change_of(ALICE, (), old))
            await made.applier.settled()
            made.charon.log.clear()
            assert await made.submit(change_of(ALICE, old, new, 2))
            verbs = [line.partition(" ")[0] for line in made.charon.log]
            assert verbs.index("terminate") < verbs.index("load-conn")

    run(work())


def test_more_changes_than_may_wait_are_refused_and_done_all_the_same(place: Place) -> None:
    async def work() -> None:
        async with bench(*place, limits=LIMITS._replace(pending=1)) as made:
            first = made.begin(change_of(ALICE, (), legs(ALICE)))
            assert not await made.submit(change_of(CAROL, (), legs(CAROL)))
            assert await first
            await made.applier.settled()
            assert len({name for name in made.filters() if "handle" in name}) > 1

    run(work())


def test_a_state_that_stands_already_costs_nothing(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            for nai in (ALICE, BOB, CAROL, ERIN):
                await made.submit(change_of(nai, (), legs(nai)))
            await made.applier.settled()
            runs, log = made.kernel.runs, len(made.charon.log)
            assert await made.applier.reconcile(made.state) == 0
            await made.applier.settled()
            assert made.kernel.runs == runs
            assert not [line for line in made.charon.log[log:] if not line.startswith(("list-", "get-"))]
            assert await made.applier.drift() == []

    run(work())


def test_after_a_restart_what_nobody_wants_goes_and_the_rest_comes(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            await made.submit(change_of(ALICE, (), legs(ALICE)))
            await made.submit(change_of(BOB, (), legs(BOB)))
            await made.applier.settled()
            line = "filter replace block 5222 protocol ip pref {} handle 5 flower"
            foreign = {
                "filter block 5222 pref 30000 handle 5": line.format(30000),
                "filter block 5222 pref 20016 handle 5": line.format(20016),
                "link rv-e51": "link add rv-e51 type xfrm if_id 500051",
            }
            made.kernel.objects |= foreign
            made.charon.connections["other"] = {}
            made.charon.connections["rv-e-gw51"] = {}
            # alice has left meanwhile, carol has come
            state = GatewayState(FA)
            for each in (*legs(BOB), *legs(CAROL)):
                add(state, each)
            assert await made.applier.reconcile(state) == 0
            await made.applier.settled()
            assert set(foreign) <= set(made.kernel.objects)
            assert {"other", "rv-e-gw51"} <= set(made.charon.connections)
            assert not any("handle 5" in name and "pref 100" in name for name in made.filters())
            assert await made.applier.drift() == []

    run(work())


def test_the_digest_follows_from_what_shall_be_alone(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            empty = made.applier.digest
            await made.submit(change_of(ALICE, (), legs(ALICE)))
            one = made.applier.digest
            await made.submit(change_of(CAROL, (), legs(CAROL)))
            await made.submit(change_of(CAROL, legs(CAROL), (), 2))
            assert made.applier.digest == one != empty
            await made.submit(change_of(ALICE, legs(ALICE), (), 2))
            assert made.applier.digest == empty
            assert made.outcomes[-1].generation == 4

    run(work())


def test_no_key_is_told(place: Place) -> None:
    async def work() -> None:
        async with bench(*place) as made:
            (one,) = legs(ALICE)
            assert one.keys is not None
            assert one.keys.psk is not None
            made.charon.refuse = {"load-conn"}
            await made.submit(change_of(ALICE, (), (one,)))
            told = repr((made.alarms, made.outcomes, made.applier.users))
            assert one.keys.psk.hex() not in told
            assert repr(bytes(one.keys.psk))[2:-1] not in told

    run(work())
