"""The picture of the fleet."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.fleet import fleet
from roamvpn.engine import Engine, compiled
from roamvpn.plan.graph import Graph, fleet_graph
from roamvpn.plan.graph_mermaid import mermaid
from roamvpn.plan.graph_svg import svg
from roamvpn.policy.compile import compile_fleet
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.tables.site import load_site

_CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def example() -> Engine:
    return compiled(load_site(read_site(example_site(), with_secrets=False)))


@pytest.fixture
def drawn(example: Engine) -> Graph:
    return fleet_graph(example.site.tables.network, example.fleet)


def test_the_committed_picture_is_the_one_that_the_example_gives(drawn: Graph) -> None:
    assert (_CHECKOUT / "docs/images/example.svg").read_text() == svg(drawn)


def test_every_pair_that_has_a_leg_has_a_line(drawn: Graph, example: Engine) -> None:
    pairs = {
        frozenset((leg.gateway, leg.peer)) for state in example.fleet.states.values() for leg in state.legs.values()
    }
    assert {frozenset((edge.near, edge.far)) for edge in drawn.edges} == pairs
    paths = [node for node in ET.fromstring(svg(drawn)).iter() if node.tag.endswith("}path")]  # noqa: S314 - our own
    legend = 5
    assert len(paths) == len(drawn.edges) + legend
    assert mermaid(drawn).count("-->|") + mermaid(drawn).count("==>|") + mermaid(drawn).count(".->|") == len(
        drawn.edges
    )


def test_an_edge_counts_users_and_names_classes_both_ways(drawn: Graph) -> None:
    edges = {(edge.near, edge.far, edge.kind): edge for edge in drawn.edges}
    own = edges["ha31", "gw51", "own esp"]
    assert own.users == 2
    assert own.classes == ("af41/ef", "ef/af41")


def test_titles_cannot_break_out_of_the_picture(drawn: Graph) -> None:
    hostile = '"]</text><script>x</script>&`|-->'
    group = drawn.groups[0]._replace(title=hostile)
    changed = drawn._replace(groups=(group, *drawn.groups[1:]))
    texts = [node.text for node in ET.fromstring(svg(changed)).iter() if node.tag.endswith("}text")]  # noqa: S314
    assert hostile in texts
    line = next(line for line in mermaid(changed).splitlines() if "script" in line)
    assert not set(line.split("[", 1)[1][1:-2]) & set('"<>`|[]{}')


def test_a_large_fleet_is_drawn_by_domains() -> None:
    tables, sessions = fleet(100)
    graph = fleet_graph(tables.network, compile_fleet(tables, sessions))
    assert graph.aggregated
    assert {edge.near for edge in graph.edges} | {edge.far for edge in graph.edges} == set(tables.network.domains)
    assert "drawn by domains" in svg(graph)
