"""A storm: everybody is served, queues form, and the same arguments give the same report."""

from __future__ import annotations

import json

from roamvpn.sim.storm import COSTS, storm


def test_everybody_is_served_and_the_oracle_agrees() -> None:
    report = storm(120, 1)
    assert (report.served, report.differences) == (120, ())
    assert 0 < report.p50 <= report.p90 <= report.p99 <= report.longest


def test_the_same_arguments_give_the_same_report() -> None:
    assert storm(60, 1, seed=3) == storm(60, 1, seed=3)
    assert storm(60, 1, seed=3) != storm(60, 1, seed=4)


def test_slower_nodes_answer_later() -> None:
    slow = storm(120, 1, costs=COSTS._replace(event=COSTS.event * 10))
    assert slow.p50 > storm(120, 1).p50
    assert slow.differences == ()


def test_the_same_users_in_less_time_queue() -> None:
    def deepest(seconds: float) -> int:
        return max(work.deepest for work in storm(300, seconds).nodes)

    assert deepest(0.1) > 2 * deepest(5)


def test_users_who_wait_too_long_ask_again() -> None:
    report = storm(200, 0.1, costs=COSTS._replace(event=20_000))
    assert report.asked_again > 0
    assert report.served == 200


def test_work_is_where_users_went() -> None:
    nodes = {work.node: work for work in storm(200, 1).nodes}
    assert sum(work.legs_set for name, work in nodes.items() if name.startswith(("station", "other"))) >= 200
    assert sum(work.legs_deleted for name, work in nodes.items() if name.startswith("train")) == 200
    assert "gw" not in nodes  # F2


def test_the_report_is_plain_data() -> None:
    data = json.loads(json.dumps(storm(20, 1).as_json()))
    assert data["users"] == 20
    assert {"node", "busy", "deepest"} <= set(data["nodes"][0])
