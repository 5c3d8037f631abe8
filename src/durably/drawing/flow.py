"""A run as a Mermaid flowchart."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from typing import Final

from .facts import SIGNS, RunFacts
from .folding import Graph, Node
from .mermaid import Flowchart
from .text import between, many

__all__ = ["flowchart_of"]

STYLES: Final = {
    "finished": "fill:#dcfce7,stroke:#16a34a,color:#14532d",
    "failed": "fill:#fee2e2,stroke:#dc2626,color:#7f1d1d",
    "waiting": "fill:#fef3c7,stroke:#d97706,color:#78350f,stroke-width:3px",
    "answered": "fill:#ede9fe,stroke:#7c3aed,color:#4c1d95",
    "unfinished": "fill:#f4f4f5,stroke:#71717a,color:#27272a,stroke-dasharray:5 4",
    "cached": "fill:#cffafe,stroke:#0891b2,color:#164e63",
    "kept": "fill:#e2e8f0,stroke:#64748b,color:#1e293b",
    "edge": "fill:#27272a,stroke:#71717a,color:#fafafa",
    "group": "fill:#71717a1a,stroke:#71717a80",
    "join": "fill:#71717a,stroke:#71717a,color:#71717a",
}
JOINED_FROM: Final = 2
"""So many arrows into each of so many nodes meet in a point on the way."""


def flowchart_of(facts: RunFacts, graph: Graph) -> str:
    """The text of the flowchart."""
    drawer = _Drawer()
    chart = drawer.chart
    chart.node("begin", facts.workflow, facts.words, shape="stadium", style="edge")
    names = drawer.draw(graph, "c")
    for place in graph.first:
        chart.arrow("begin", names[place])
    chart.node("finish", _ending(facts), facts.note, shape="stadium", style=_ending_style(facts))
    for source in [names[place] for place in graph.last] or ["begin"]:
        chart.arrow(source, "finish", dotted=facts.status != "done")
    return chart.text({name: STYLES[name] for name in STYLES if name in drawer.used | {"edge", _ending_style(facts)}})


def _ending(facts: RunFacts) -> str:
    return facts.status + (f", attempt {facts.attempts}" if facts.attempts > 1 else "")


def _ending_style(facts: RunFacts) -> str:
    return {"failed": "failed", "asked": "waiting", "done": "edge"}.get(facts.status, "unfinished")


class _Drawer:
    def __init__(self) -> None:
        self.chart = Flowchart()
        self.used = set[str]()

    def draw(self, graph: Graph, prefix: str) -> list[str]:
        """Draw a graph; returns the names of its nodes."""
        names = [f"{prefix}{place}" for place in range(len(graph.nodes))]
        for name, node in zip(names, graph.nodes, strict=True):
            self._draw_node(node, name)
        self._draw_arrows(graph, names)
        return names

    def _draw_arrows(self, graph: Graph, names: list[str]) -> None:
        is_loop = any(target < source for source, target in graph.arrows)
        before, after = defaultdict[int, list[int]](list), defaultdict[tuple[int, ...], list[int]](list)
        for source, target in sorted(graph.arrows):
            before[target].append(source)
        for target, sources in before.items():
            after[tuple(sources)].append(target)
        for together, targets in after.items():
            if min(len(together), len(targets)) >= JOINED_FROM and not is_loop:
                self._join([names[n] for n in together], [names[n] for n in targets])
                continue
            for source, target in product(together, targets):
                count = graph.arrows[source, target]
                label = f"×{count:,}" if count > 1 and is_loop else ""
                self.chart.arrow(names[source], names[target], label)

    def _join(self, before: list[str], after: list[str]) -> None:
        point = f"{before[0]}_{after[0]}"
        self._style("join")
        self.chart.node(point, " ", shape="point", style="join")
        for name in before:
            self.chart.arrow(name, point, head=False)
        for name in after:
            self.chart.arrow(point, name)

    def _draw_node(self, node: Node, name: str) -> None:
        style = self._style(node.state)
        if node.body is None:
            question = all(call.is_question for call in node.calls)
            self.chart.node(name, *_label(node), shape="hexagon" if question else "round", style=style)
            return
        outline = self._style("group") if node.state == "finished" else style
        with self.chart.group(name, " · ".join(filter(None, _label(node))), style=outline):
            self.draw(node.body, f"{name}_")

    def _style(self, style: str) -> str:
        self.used.add(style)
        return style


def _label(node: Node) -> list[str]:
    calls = node.calls
    sign = SIGNS.get(node.state, "")
    name = node.name or f"{len(calls):,} other calls"
    title = f"{sign} {name}".strip() + (many(len(calls)) if node.name else "")
    return [title, calls[0].words if len(calls) == 1 else "", _details(node)]


def _details(node: Node) -> str:
    first, *others = node.calls
    parts = [first.note if first.note and not others else between(node.times())]
    retried = sum(call.attempts > 1 for call in node.calls)
    if retried:
        parts.append(f"{retried:,} retried" if others else f"{first.attempts} attempts")
    if node.body is None and node.inside():
        parts.append(f"{node.inside():,} calls inside")
    return ", ".join(filter(None, parts))
