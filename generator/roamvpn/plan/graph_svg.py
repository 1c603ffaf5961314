"""The fleet's graph as a self-contained SVG: visited domains left, home in the middle, correspondents right."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

from roamvpn.tables.types import Security, Share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.plan.graph import Edge, Graph, Group, Node

_NODE_WIDTH, _NODE_HEIGHT, _GAP, _PAD = 168, 48, 22, 16
_HEAD, _FOOT = 44, 24
_PORT = 19
"""Pixels between the edges of one side of a node: a line and its label."""
_COLUMNS = (40, 500, 960)
_BOX = _NODE_WIDTH + 2 * _PAD
_WIDTH = _COLUMNS[2] + _BOX + 40
_TOP = 92
_COLOURS = {Security.ESP: "#1f6fb2", Security.AH: "#b5651d", Security.ENCAPSULATION: "#a33"}
_STYLE = """
text{font-family:'DejaVu Sans',Verdana,Helvetica,sans-serif;font-size:12px;fill:#222}
.title{font-size:20px;font-weight:bold}.sub{fill:#666}.domain{font-weight:bold;font-size:13px}
.node{font-weight:bold}.small{font-size:10.5px;fill:#555}
.label{font-size:10.5px;paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}
"""


class _Place(NamedTuple):
    """Where a node stands: its left edge, its top, its height, its column."""

    x: float
    y: float
    height: float
    column: int


def svg(graph: Graph) -> str:
    """Text of the picture."""
    places, boxes, height = _layout(graph)
    height += 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">',
        f"<title>{escape(f'Fleet of {graph.site}: {graph.summary}')}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height:.0f}" rx="12" fill="#fff"/>',
        _text(40, 42, f"Fleet of {graph.site}", "title"),
        _text(40, 64, graph.summary + (" (drawn by domains)" if graph.aggregated else ""), "sub"),
    ]
    for group, (x, y, box_height) in boxes:
        parts += _group(group, x, y, box_height)
    parts += _edges(graph.edges, places)
    nodes = [node for group in graph.groups for node in group.nodes]
    for node in nodes:
        parts += _node(node, places[node.name])
    parts += _legend(height - 34)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _layout(
    graph: Graph,
) -> tuple[dict[str, _Place], list[tuple[Group, tuple[float, float, float]]], float]:
    places: dict[str, _Place] = {}
    boxes: list[tuple[Group, tuple[float, float, float]]] = []
    bottoms = [float(_TOP)] * 3
    # static gateways come first on the right: their tunnels run through the home agent, at the top of the middle
    heights = _heights(graph.edges)
    order = sorted(graph.groups, key=lambda group: (group.column, not any(n.static for n in group.nodes), group.name))
    for group in order:
        x, y = _COLUMNS[group.column], bottoms[group.column]
        top = y + _HEAD
        for node in group.nodes:
            places[node.name] = _Place(x + _PAD, top, heights.get(node.name, _NODE_HEIGHT), group.column)
            top += places[node.name].height + _GAP
        height = top - y + (_FOOT if group.aaa else 0) - _GAP + _PAD
        boxes.append((group, (x, y, height)))
        bottoms[group.column] = y + height + _GAP
    return places, boxes, max(bottoms)


def _heights(edges: tuple[Edge, ...]) -> dict[str, float]:
    """A node is as tall as its edges need to stand apart with their labels."""
    degrees: dict[str, list[int]] = {}
    for edge in edges:
        degrees.setdefault(edge.near, [0, 0])[0] += 1
        degrees.setdefault(edge.far, [0, 0])[1] += 1
    return {name: max(_NODE_HEIGHT, _PORT * (max(both) + 1)) for name, both in degrees.items()}


def _group(group: Group, x: float, y: float, height: float) -> Iterator[str]:
    yield (f'<rect x="{x}" y="{y:.0f}" width="{_BOX}" height="{height:.0f}" rx="10" fill="#f4f6f8" stroke="#c8d0d8"/>')
    yield _text(x + _PAD, y + 18, group.title, "domain")
    yield _text(x + _PAD, y + 33, group.realm, "small")
    if group.aaa:
        yield _text(x + _PAD, y + height - 10, "AAA: " + ", ".join(group.aaa), "small")


def _node(node: Node, place: _Place) -> Iterator[str]:
    fill, stroke = ("#fff8e6", "#c79a2b") if node.static else ("#ffffff", "#5a6b7b")
    dash = ' stroke-dasharray="5 3"' if node.static else ""
    yield (
        f'<rect x="{place.x}" y="{place.y:.0f}" width="{_NODE_WIDTH}" height="{place.height:.0f}" rx="7" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="1.5"{dash}/>'
    )
    yield _text(place.x + 12, place.y + 20, node.label, "node")
    yield _text(place.x + 12, place.y + 37, node.detail, "small")


def _edges(edges: tuple[Edge, ...], places: dict[str, _Place]) -> Iterator[str]:
    """Curves from side to side. Every node deals its edges out over its side, in the order of the far ends."""
    ports = _ports(edges, places)
    for index, edge in enumerate(edges):
        (x1, y1), (x2, y2) = ports[index, edge.near], ports[index, edge.far]
        bend = max(abs(x2 - x1) * 0.45, 60)
        outward = 1 if x2 >= x1 else -1
        middle = (x1 + outward * bend, x2 - outward * bend) if x1 != x2 else (x1 + bend, x2 + bend)
        colour = _COLOURS[edge.security]
        width = 4.5 if edge.share is Share.SHARED and edge.security is not Security.ENCAPSULATION else 2
        dash = ' stroke-dasharray="7 5"' if edge.security is Security.ENCAPSULATION else ""
        dash = ' stroke-dasharray="2 4"' if edge.hand_off else dash
        yield (
            f'<path d="M{x1:.1f},{y1:.1f} C{middle[0]:.1f},{y1:.1f} {middle[1]:.1f},{y2:.1f} {x2:.1f},{y2:.1f}" '
            f'fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="0.85"{dash}/>'
        )
    for index, edge in enumerate(edges):
        # a label stands at its mobile end, where ports keep lines apart
        x, y = ports[index, edge.near]
        users = "1 user" if edge.users == 1 else f"{edge.users} users"
        classes = ", ".join(edge.classes[:3]) + (" …" if len(edge.classes) > 3 else "")
        yield _text(x + 22, y - 4, f"{edge.kind} · {classes} · {users}", "label")


def _ports(edges: tuple[Edge, ...], places: dict[str, _Place]) -> dict[tuple[int, str], tuple[float, float]]:
    sides: dict[tuple[str, bool], list[tuple[float, int, str]]] = {}
    for index, edge in enumerate(edges):
        near, far = places[edge.near], places[edge.far]
        for name, here, there in ((edge.near, near, far), (edge.far, far, near)):
            # between two of one column an edge goes round on their right
            right = there.x >= here.x
            sides.setdefault((name, right), []).append((there.y + there.column, index, name))
    ports = {}
    for (name, right), ends in sides.items():
        place = places[name]
        x = place.x + (_NODE_WIDTH if right else 0)
        step = place.height / (len(ends) + 1)
        for position, (_, index, _name) in enumerate(sorted(ends), 1):
            ports[index, name] = (x, place.y + position * step)
    return ports


def _legend(y: float) -> Iterator[str]:
    entries = [
        ("own ESP", _COLOURS[Security.ESP], 2, ""),
        ("shared ESP", _COLOURS[Security.ESP], 4.5, ""),
        ("own AH", _COLOURS[Security.AH], 2, ""),
        ("shared AH", _COLOURS[Security.AH], 4.5, ""),
        ("encapsulation only, not protected", _COLOURS[Security.ENCAPSULATION], 2, "7 5"),
    ]
    x = 40.0
    for name, colour, width, dash in entries:
        style = f' stroke-dasharray="{dash}"' if dash else ""
        yield f'<path d="M{x},{y} h34" stroke="{colour}" stroke-width="{width}"{style}/>'
        yield _text(x + 42, y + 4, name, "small")
        x += 60 + 7 * len(name)
    style = 'rx="4" fill="#fff8e6" stroke="#c79a2b" stroke-dasharray="5 3"'
    yield f'<rect x="{x}" y="{y - 8}" width="24" height="15" {style}/>'
    yield _text(x + 32, y + 4, "static gateway, never signalled", "small")
    yield _text(x + 232, y + 4, "classes are up/down", "small")


def _text(x: float, y: float, content: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(content)}</text>'
