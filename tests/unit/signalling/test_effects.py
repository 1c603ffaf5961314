"""The steps of a change, in both orders (D14 to D16, F5, G16, G23)."""

from __future__ import annotations

import pytest

from roamvpn.signalling.effects import Apply, Do, Order, change, steps
from tests.signalled import ALICE, CAROL, FRANK, Bench

BENCH = Bench()


def _done(apply: Apply, order: Order) -> list[tuple[Do, str]]:
    return [(step.do, step.contribution.leg.name if step.contribution.leg else "") for step in steps(apply, order)]


@pytest.mark.parametrize("order", list(Order))
def test_marking_comes_before_any_tunnel(order: Order) -> None:  # D14, F5
    legs = BENCH.fa()._compiled(BENCH.on_leg(CAROL))
    did = [do for do, _ in _done(Apply(CAROL, 1, set=legs), order)]
    assert did.index(Do.TUNNEL) > max(index for index, do in enumerate(did) if do is Do.DS)
    assert did.count(Do.TUNNEL) == did.count(Do.DECODE) == 2


def test_without_a_class_nothing_is_marked() -> None:  # D15
    legs = BENCH.fa()._compiled(BENCH.on_leg("dave@isp3.example"))
    assert [do for do, _ in _done(Apply(ALICE, 1, set=legs), Order.PATENT)] == [Do.TUNNEL, Do.DECODE]


def test_the_patents_order_deletes_first_and_decodes_last() -> None:  # D16, S223, S226
    old, new = BENCH.fa()._compiled(BENCH.on_leg(FRANK)), BENCH.fa()._compiled(BENCH.on_leg(FRANK, generation=1))
    did = [do for do, _ in _done(Apply(FRANK, 2, set=new, delete=old), Order.PATENT)]
    assert did == [Do.UNMARK, Do.DELETE, Do.DS, Do.TUNNEL, Do.DECODE]


def test_make_before_break_decodes_first_and_deletes_last() -> None:  # G23
    old, new = BENCH.fa()._compiled(BENCH.on_leg(FRANK)), BENCH.fa()._compiled(BENCH.on_leg(FRANK, generation=1))
    did = [do for do, _ in _done(Apply(FRANK, 2, set=new, delete=old), Order.MAKE_BEFORE_BREAK)]
    # the marking has the handle of the old one, which it replaces
    assert did == [Do.DECODE, Do.DS, Do.TUNNEL, Do.DELETE]


def test_what_was_prepared_is_not_decoded_twice() -> None:  # G23
    new = BENCH.fa()._compiled(BENCH.on_leg(FRANK))
    prepared = _done(Apply(FRANK, 2, prepare=new), Order.MAKE_BEFORE_BREAK)
    assert [do for do, _ in prepared] == [Do.DECODE]
    did = [do for do, _ in _done(Apply(FRANK, 2, set=new, prepared=new), Order.MAKE_BEFORE_BREAK)]
    assert did == [Do.DS, Do.TUNNEL]


def test_what_was_prepared_in_vain_goes_without_touching_a_marking() -> None:  # G23
    new = BENCH.fa()._compiled(BENCH.on_leg(FRANK))
    did = [do for do, _ in _done(Apply(FRANK, 2, withdrawn=new), Order.MAKE_BEFORE_BREAK)]
    assert did == [Do.DELETE]


def test_what_is_deleted_is_what_the_previous_instance_had() -> None:  # G16
    machine = BENCH.fa()
    two, one = machine._compiled(BENCH.on_leg(CAROL)), machine._compiled(BENCH.on_leg(CAROL))[:1]
    assert change(two, one) == ((), two[1:])
    assert change(one, two) == (two[1:], ())
    assert change(two, two) == ((), ())


def test_two_vpns_that_lean_on_one_peer_are_counted() -> None:  # F7
    (one,) = BENCH.fa()._compiled(BENCH.on_leg("bob@isp3.example"))
    assert change((one, one), (one,)) == ((), (one,))
    assert change((one,), (one, one)) == ((one,), ())
