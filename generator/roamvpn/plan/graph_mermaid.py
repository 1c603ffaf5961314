"""The fleet's graph as a Mermaid flowchart, which many places draw right in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.tables.types import Security, Share

if TYPE_CHECKING:
    from roamvpn.plan.graph import Edge, Graph, Node

_ARROWS = {
    (Security.ESP, Share.OWN): "<-->",
    (Security.ESP, Share.SHARED): "<==>",
    (Security.AH, Share.OWN): "<-->",
    (Security.AH, Share.SHARED): "<==>",
}


def mermaid(graph: Graph) -> str:
    """Text of the flowchart: a subgraph a domain, thick lines for what gateways share, dotted for no protection."""
    lines = ["flowchart LR"]
    for group in sorted(graph.groups, key=lambda group: (group.column, group.name)):
        title = " ".join((group.title, f"({group.realm})", *group.aaa))
        lines.append(f"  subgraph d_{_id(group.name)}[{_quoted(title)}]")
        lines += [f"    {_node(node)}" for node in group.nodes]
        lines.append("  end")
    lines += [f"  {_edge(edge)}" for edge in graph.edges]
    return "\n".join(lines) + "\n"


def _node(node: Node) -> str:
    text = _quoted(f"{node.label}<br/>{node.detail}", keep="<br/>")
    return f"g_{_id(node.name)}[[{text}]]" if node.static else f"g_{_id(node.name)}({text})"


def _edge(edge: Edge) -> str:
    arrow = _ARROWS.get((edge.security, edge.share), "<-.->")
    users = "1 user" if edge.users == 1 else f"{edge.users} users"
    label = _quoted(f"{edge.kind}, {', '.join(edge.classes[:4])}, {users}")
    return f"g_{_id(edge.near)} {arrow}|{label}| g_{_id(edge.far)}"


def _id(name: str) -> str:
    """Names are checked words; a dash would read as an arrow."""
    return name.replace("-", "_0_")


def _quoted(text: str, keep: str = "") -> str:
    """A label in quotes, with entities for whatever Mermaid or HTML reads as more than text."""
    parts = text.split(keep) if keep else [text]
    safe = [
        "".join(char if char.isalnum() or char in " .,:/()-" else f"#{ord(char)};" for char in part) for part in parts
    ]
    return '"' + keep.join(safe) + '"'
