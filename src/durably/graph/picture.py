"""What a graph looks like before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..constants import END, START
from ..drawing.mermaid import Flowchart
from .node import Node
from .progress import Topology

__all__ = ["Edge", "GraphPicture", "picture_of"]

STYLES = {"terminal": "fill:none,stroke-dasharray:3"}


@dataclass(frozen=True, slots=True)
class Edge:
    """Something that leads from one node to another.

    Args:
        source: the node it leads from.
        target: the node it leads to.
        data: what a conditional edge has to return to lead there, where that is another word than the node's name.
        conditional: whether it is known only at run time whether it leads there.
    """

    source: str
    target: str
    data: str | None = None
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class GraphPicture:
    """The nodes and edges of a graph.

    Args:
        nodes: by name; those that are graphs with their own picture, where that is asked for.
        edges: between them.
    """

    nodes: Mapping[str, GraphPicture | None]
    edges: tuple[Edge, ...]

    def draw_mermaid(self) -> str:
        """A flowchart for Mermaid: arrows are edges, dotted ones conditional."""
        chart = Flowchart()
        self._draw(chart, "n")
        return chart.text(STYLES)

    def _draw(self, chart: Flowchart, prefix: str) -> None:
        ids = {name: f"{prefix}{index}" for index, name in enumerate(self.nodes)}
        for name, inner in self.nodes.items():
            if inner is not None:
                with chart.group(ids[name], name):
                    inner._draw(chart, f"{ids[name]}_")
            elif name in (START, END):
                chart.node(ids[name], name.strip("_"), shape="stadium", style="terminal")
            else:
                chart.node(ids[name], name)
        for edge in self.edges:
            chart.arrow(ids[edge.source], ids[edge.target], edge.data or "", dotted=edge.conditional)


def picture_of(topology: Topology, nodes: Mapping[str, Node], *, xray: bool = False) -> GraphPicture:
    """What a graph looks like.

    Args:
        topology: what leads where.
        nodes: by name, the start among them.
        xray: whether nodes that are graphs show what is in them.
    """
    edges = [edge for node in nodes.values() for edge in _edges(topology, node)]
    sources = {edge.source for edge in edges}
    edges += [Edge(name, END) for name in nodes if name not in sources]
    shown: dict[str, GraphPicture | None] = {name: _inside(node, xray) for name, node in nodes.items()}
    return GraphPicture({**shown, END: None}, tuple(dict.fromkeys(edges)))


def _edges(topology: Topology, node: Node) -> Iterator[Edge]:
    name = node.name
    for target in topology.edges.get(name, ()):
        yield Edge(name, target)
    if name in topology.ending:
        yield Edge(name, END)
    for sources, target in topology.joins:
        if name in sources:
            yield Edge(name, target)
    for branch in node.branches:
        ends = {target: target for target in (*sorted(topology.nodes), END)} if branch.ends is None else branch.ends
        for word, target in ends.items():
            yield Edge(name, target, None if word == target else str(word), True)
    for target in node.destinations or ():
        yield Edge(name, target, None, True)


def _inside(node: Node, xray: bool) -> GraphPicture | None:
    picture: Any = getattr(node.graph, "get_graph", None)
    return picture(xray=True) if xray and picture is not None else None
