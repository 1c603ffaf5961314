"""Lines of many users in one process: who fails is told, and fails alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roamvpn.agent import kernel
from roamvpn.agent.kernel import Kernel, Tool
from roamvpn.gateway.errors import GatewayError
from tests.unit.agent.stand_ins import StandInKernel

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUTE = "route replace 203.0.113.{} dev lan table 400000"
FILTER = "filter replace block 5222 protocol ip pref 10016 handle {} flower src_ip 1.2.3.4 dst_ip 1.2.3.5 action drop"


def name(number: int) -> str:
    return f"route 203.0.113.{number} table 400000"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandInKernel:
    made = StandInKernel()
    monkeypatch.setattr(kernel, "_batch", made.batch)
    return made


async def together(tool: Tool, *requests: Sequence[str]) -> list[BaseException | None]:
    return await asyncio.gather(*(tool.set(request) for request in requests), return_exceptions=True)


def test_what_waits_goes_into_one_process(stand_in: StandInKernel) -> None:
    async def work() -> int:
        tool = Tool("ip")
        assert await together(tool, *([ROUTE.format(number)] for number in range(1, 50))) == [None] * 49
        return tool.runs

    assert asyncio.run(work()) <= 2
    assert len(stand_in.objects) == 49


def test_one_that_is_refused_fails_alone_and_the_object_is_named(stand_in: StandInKernel) -> None:
    stand_in.refuse = {name(2)}

    async def work() -> list[BaseException | None]:
        return await together(Tool("ip"), [ROUTE.format(1)], [ROUTE.format(2), ROUTE.format(5)], [ROUTE.format(3)])

    one, two, three = asyncio.run(work())
    assert one is None
    assert three is None
    assert isinstance(two, GatewayError)
    assert name(2) in str(two)
    assert set(stand_in.objects) == {name(1), name(3)}


def test_a_key_in_a_refused_line_is_not_told(stand_in: StandInKernel) -> None:
    line = "xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 4097 enc cbc(aes) 0xc0ffee if_id 400001"
    stand_in.refuse = {"state 192.0.2.2 esp 0x00001001"}
    with pytest.raises(GatewayError) as caught:
        asyncio.run(Tool("ip").set([line]))
    assert "c0ffee" not in str(caught.value)


def test_removing_what_is_gone_is_no_error_and_the_rest_goes(stand_in: StandInKernel) -> None:
    async def work() -> None:
        made = Kernel()
        await made.set([(name(number), [ROUTE.format(number)]) for number in (1, 3)])
        await made.remove([name(1), name(2), name(3)])

    asyncio.run(work())
    assert not stand_in.objects


def test_what_is_there_though_it_should_not_be_is_made_anew(stand_in: StandInKernel) -> None:
    stand_in.objects["rule pref 10000 fwmark 500021 lookup 500021"] = "somebody's"
    line = "rule add pref 10000 fwmark 500021 lookup 500021"
    asyncio.run(Tool("ip").set([line]))
    assert stand_in.objects == {"rule pref 10000 fwmark 500021 lookup 500021": line}


def test_both_tools_are_asked_each_for_its_own(stand_in: StandInKernel) -> None:
    handle = "filter block 5222 pref 10016 handle 5"

    async def work() -> Kernel:
        made = Kernel()
        await made.set([(name(1), [ROUTE.format(1)]), (handle, [FILTER.format(5)])])
        return made

    made = asyncio.run(work())
    assert (made.ip.runs, made.tc.runs) == (1, 1)
    assert set(stand_in.objects) == {name(1), handle}


def test_a_program_that_is_missing_is_an_error_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_ENVIRONMENT", {"PATH": "/nowhere"})
    with pytest.raises(GatewayError, match="no-such-tool"):
        asyncio.run(asyncio.wait_for(Tool("no-such-tool").set(["x"]), 10))
