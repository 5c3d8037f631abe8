"""A run's calls as a graph that fits on a page: which came after which, and alike ones as one.

One call came *after* another when it began once the other had ended; calls of which neither came after the other were
side by side. That is an order of intervals in time, and the arrows are its shortest form: none that follows from others.
Folding takes calls together, and their arrows with them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from math import inf, nextafter
from typing import Final

from .facts import OPEN_STATES, STATES, Call, State

__all__ = ["Graph", "Node", "fold"]

MOST_IN_A_BODY: Final = 24
MOST_NODES: Final = 120
MOST_ARROWS: Final = 300
MOST_ARROWS_IN_A_BODY: Final = (MOST_IN_A_BODY // 2) ** 2
"""As many as an order of intervals can need; where alike calls are one node there may be more, and rare ones are left out."""
FOLDED_FROM: Final = 3
"""So many alike calls in a row become one node."""

DEPTHS: Final = (50, 6, 3, 2, 1)


@dataclass(frozen=True, slots=True)
class Node:
    """One call, or several alike.

    Args:
        name: what it shows; empty for calls that are not alike.
        state: how they stand.
        calls: the calls, never none.
        body: what was called in them, None where nothing was, or where it is left out.
    """

    name: str
    state: State
    calls: tuple[Call, ...]
    body: Graph | None = None

    def times(self) -> list[float]:
        """How long those took that have ended, in seconds."""
        return [call.seconds for call in self.calls if call.state not in OPEN_STATES]

    def inside(self) -> int:
        """How many calls were made directly in these."""
        return sum(len(call.calls) for call in self.calls)


@dataclass(frozen=True, slots=True)
class Graph:
    """The calls of a body, or of several alike ones.

    Args:
        nodes: in the order in which they began.
        arrows: how many calls of the second node came straight after some of the first.
        first: the nodes that came after none.
        last: the nodes that none came after.
    """

    nodes: tuple[Node, ...] = ()
    arrows: dict[tuple[int, int], int] = field(default_factory=dict)
    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()

    def walk(self, depth: int = 0) -> Iterator[tuple[Node, int]]:
        """Each node, before those in its body, with its depth."""
        for node in self.nodes:
            yield node, depth
            if node.body is not None:
                yield from node.body.walk(depth + 1)

    def count_arrows(self) -> int:
        """At any depth."""
        return len(self.arrows) + sum(node.body.count_arrows() for node in self.nodes if node.body is not None)


def fold(calls: Sequence[Call]) -> Graph:
    """The graph of a body's calls, small enough to be read whatever their number."""
    graph = Graph()
    for depth in DEPTHS:
        graph = _graph([calls], depth)
        if sum(1 for _ in graph.walk()) <= MOST_NODES and graph.count_arrows() <= MOST_ARROWS:
            break
    return graph


def _graph(bodies: Sequence[Sequence[Call]], depth: int) -> Graph:
    groups = _groups(bodies)
    number = {id(call): no for no, group in enumerate(groups) for call in group}
    arrows, first, last = Counter[tuple[int, int]](), set[int](), set[int]()
    for body in bodies:
        order = _Order([(call.began, call.ended, number[id(call)]) for call in body])
        arrows.update(order.arrows())
        first.update(order.first())
        last.update(order.last())
    nodes = tuple(_node(group, depth) for group in groups)
    return Graph(nodes, dict(arrows.most_common(MOST_ARROWS_IN_A_BODY)), tuple(sorted(first)), tuple(sorted(last)))


def _node(group: Sequence[Call], depth: int) -> Node:
    names = {call.name for call in group}
    state = STATES[min(STATES.index(call.state) for call in group)]
    bodies = [call.calls for call in group if call.calls]
    body = _graph(bodies, depth - 1) if bodies and depth > 1 else None
    return Node(names.pop() if len(names) == 1 else "", state, tuple(group), body)


# Which calls are taken together.


def _groups(bodies: Sequence[Sequence[Call]]) -> list[list[Call]]:
    """The calls of each node, in the order in which they began: alike ones in a row, or where that is too much, all alike."""
    if len(bodies) == 1:
        in_rows = list(_rows(sorted(bodies[0], key=_began)))
        if len(in_rows) <= MOST_IN_A_BODY:
            return in_rows
    alike = defaultdict[tuple[str, State], list[Call]](list)
    for call in sorted((call for body in bodies for call in body), key=_began):
        alike[_kind(call)].append(call)
    groups = sorted(alike.values(), key=len, reverse=True)
    if len(groups) > MOST_IN_A_BODY:
        rest = sorted((call for group in groups[MOST_IN_A_BODY - 1 :] for call in group), key=_began)
        groups = [*groups[: MOST_IN_A_BODY - 1], rest]
    return sorted(groups, key=lambda group: group[0].began)


def _rows(calls: list[Call]) -> Iterator[list[Call]]:
    for _, found in groupby(calls, _kind):
        row = list(found)
        if len(row) >= FOLDED_FROM:
            yield row
        else:
            yield from ([call] for call in row)


def _kind(call: Call) -> tuple[str, State]:
    return call.name, call.state


def _began(call: Call) -> float:
    return call.began


# What came after what.


class _Order:
    """The order of intervals in time, and the groups that they belong to.

    Args:
        intervals: begin, end and group of each.
    """

    def __init__(self, intervals: list[tuple[float, float, int]]) -> None:
        # An interval has a length, or two at the same moment would each come after the other.
        self._intervals = [(began, max(ended, nextafter(began, inf)), group) for began, ended, group in intervals]
        by_end = sorted(self._intervals, key=lambda interval: interval[1])
        self._ends = [ended for _, ended, _ in by_end]
        self._latest = list(accumulate((began for began, _, _ in by_end), max))
        self._places = defaultdict[int, list[int]](list)
        for place, (_, _, group) in enumerate(by_end):
            self._places[group].append(place)

    def arrows(self) -> Iterator[tuple[int, int]]:
        """For each interval, the other groups that have one straight before it."""
        for began, _, group in self._intervals:
            for other in self._before(began):
                if other != group:
                    yield other, group

    def first(self) -> Iterator[int]:
        """The groups of intervals that come after none."""
        if self._ends:
            yield from (group for began, _, group in self._intervals if began < self._ends[0])

    def last(self) -> Iterator[int]:
        """The groups of intervals that none comes after."""
        return self._before(inf)

    def _before(self, moment: float) -> Iterator[int]:
        """The groups of those that had ended at a moment, and that nothing came after which had ended, too."""
        high = bisect_right(self._ends, moment)
        if high:
            low = bisect_right(self._ends, self._latest[high - 1], 0, high)
            for group, places in self._places.items():
                at = bisect_left(places, low)
                if at < len(places) and places[at] < high:
                    yield group
