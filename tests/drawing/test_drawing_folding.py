"""The order of calls in time, and taking calls together."""

from __future__ import annotations

import re
from itertools import permutations
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from durably.drawing import Call, Drawing, RunFacts, Span
from durably.drawing.axis import Axis
from durably.drawing.folding import MOST_ARROWS, MOST_NODES, Graph, fold


def call(name: str, began: float, ended: float, *calls: Call) -> Call:
    return Call(name, "finished", (Span(began, ended, "finished"),), calls=calls)


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes]


def arrows(graph: Graph) -> set[tuple[str, str]]:
    return {(graph.nodes[a].name, graph.nodes[b].name) for a, b in graph.arrows}


def test_calls_side_by_side_are_drawn_so() -> None:
    graph = fold([call("plan", 0, 1), call("left", 1, 3), call("right", 1, 2), call("more", 2, 3), call("end", 3, 4)])
    assert arrows(graph) == {("plan", "left"), ("plan", "right"), ("right", "more"), ("left", "end"), ("more", "end")}
    assert [graph.nodes[place].name for place in graph.first] == ["plan"]
    assert [graph.nodes[place].name for place in graph.last] == ["end"]


moments = st.integers(0, 8)
intervals = st.lists(st.tuples(moments, moments).map(lambda pair: (min(pair), max(pair))), min_size=1, max_size=9)


@given(intervals)
def test_arrows_say_the_whole_order_and_nothing_twice(found: list[tuple[int, int]]) -> None:
    graph = fold([call(f"t{n}", a, b) for n, (a, b) in enumerate(found)])
    # An interval of no length still comes after another one at the same moment only if that one had ended before.
    real = {f"t{n}": (a, max(b, a + 1e-9)) for n, (a, b) in enumerate(found)}
    after = {(x, y) for x, y in permutations(real, 2) if real[x][1] <= real[y][0]}
    needed = {(x, y) for x, y in after if not any((x, z) in after and (z, y) in after for z in real)}
    assert arrows(graph) == needed
    assert {graph.nodes[place].name for place in graph.first} == {
        y for y in real if not any((x, y) in after for x in real)
    }
    assert {graph.nodes[place].name for place in graph.last} == {
        x for x in real if not any((x, y) in after for y in real)
    }


def test_alike_calls_in_a_row_are_one() -> None:
    graph = fold([*(call("check", 0, 1) for _ in range(5)), call("sum", 2, 3), call("sum", 3, 4)])
    assert [(node.name, len(node.calls)) for node in graph.nodes] == [("check", 5), ("sum", 1), ("sum", 1)]
    assert arrows(graph) == {("check", "sum"), ("sum", "sum")}


def test_a_loop_becomes_a_loop() -> None:
    calls = [call(name, t, t + 1) for n in range(100) for name, t in (("think", 2 * n), ("act", 2 * n + 1))]
    graph = fold(calls)
    assert names(graph) == ["think", "act"]
    assert graph.arrows == {(0, 1): 100, (1, 0): 99}
    assert (graph.first, graph.last) == ((0,), (1,))


def test_bodies_of_alike_calls_are_drawn_as_one() -> None:
    def body(n: int) -> Call:
        return call("page", n, n + 1, call("fetch", n, n + 0.4), call("parse", n + 0.5, n + 1))

    (node,) = fold([body(n) for n in range(4)]).nodes
    assert node.body is not None
    assert [(inner.name, len(inner.calls)) for inner in node.body.nodes] == [("fetch", 4), ("parse", 4)]
    assert node.body.arrows == {(0, 1): 4}


def test_failures_are_not_hidden_among_many() -> None:
    calls = [call("send", n, n + 1) for n in range(60)]
    calls[30] = Call("send", "failed", (Span(30, 31, "failed"),), note="TimeoutError: too slow")
    graph = fold(calls)
    assert [(node.state, len(node.calls)) for node in graph.nodes] == [
        ("finished", 30),
        ("failed", 1),
        ("finished", 29),
    ]


tree = st.recursive(
    st.builds(call, st.sampled_from("abc"), moments, moments),
    lambda inner: st.builds(
        lambda name, a, b, calls: call(name, a, b, *calls),
        st.text(max_size=3),
        moments,
        moments,
        st.lists(inner, max_size=6),
    ),
    max_leaves=60,
)


@settings(max_examples=30)
@given(st.lists(tree, max_size=12))
def test_every_tree_can_be_drawn(calls: list[Call]) -> None:
    facts = RunFacts("w", "a", "r", "done", 1, 0.0, 9.0, calls=tuple(calls))
    drawing = Drawing(facts)
    ET.fromstring(drawing.svg)
    drawn = {id(call) for node, _ in fold(calls).walk() for call in node.calls}
    assert {id(call) for call in calls} <= drawn
    assert drawing.mermaid.startswith("flowchart TD\n")


def test_the_picture_of_very_many_different_calls_stays_small() -> None:
    wide = [call(f"t{n}", n % 7, n % 7 + 1, *(call(f"u{n}{k}", k, k + 1) for k in range(10))) for n in range(2_000)]
    deep = call("t", 0, 1)
    for n in range(45):
        deep = call(f"d{n}", 0, 1, *(call(f"e{n}{k}", k, k + 1) for k in range(20)), deep)
    for calls in (wide, [deep]):
        graph = fold(calls)
        assert sum(1 for _ in graph.walk()) <= MOST_NODES
        assert graph.count_arrows() <= MOST_ARROWS
        drawing = Drawing(RunFacts("w", "a", "r", "done", 1, 0.0, 9.0, calls=tuple(calls)))
        assert len(drawing.mermaid) < 50_000, "Mermaid draws no longer text"
        assert len(re.findall("--", drawing.mermaid)) < 500, "nor more arrows"
        assert len(drawing.svg) < 500_000


# The axis of time.

seconds = st.floats(0, 1e6, allow_nan=False)


@given(seconds, seconds, st.lists(st.tuples(seconds, seconds).map(lambda p: (min(p), max(p))), max_size=8))
def test_the_axis_keeps_the_order_of_moments(a: float, b: float, work: list[tuple[float, float]]) -> None:
    began, ended = min(a, b), max(a, b)
    axis = Axis(began, ended, work, 100.0, 500.0)
    assert axis.pieces[0].left == 100.0
    assert abs(axis.pieces[-1].right - 500.0) < 1e-3
    places = [axis.at(moment) for moment in sorted([began, ended, *(t for pair in work for t in pair)])]
    assert places == sorted(places)
    assert all(100.0 <= place <= 500.001 for place in places)
    assert len(list(axis.ticks())) < 60


def test_a_night_takes_no_more_room_than_its_share() -> None:
    axis = Axis(0.0, 100_000.0, [(0.0, 10.0), (99_990.0, 100_000.0)], 0.0, 100.0)
    assert [piece.is_pause for piece in axis.pieces] == [False, True, False]
    assert axis.at(10.0) > 25 and axis.at(99_990.0) < 75
