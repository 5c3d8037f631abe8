"""The queue of calls nobody has begun, and the count of bodies under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.engine.queue import Limits, ReadyQueue


@dataclass(eq=False)
class Call:
    depth: int = 0
    pending: bool = True
    counted: bool = False
    is_async: bool = False
    function: Any = field(init=False)

    def __post_init__(self) -> None:
        self.function = SimpleNamespace(is_async=self.is_async, is_passive=False)


@given(
    st.lists(st.one_of(st.integers(1, 4), st.just("first"), st.just("claim"), st.just("cancel")), max_size=60),
    st.randoms(use_true_random=False),
)
def test_the_deepest_first_and_then_in_order(script: list[Any], random: Any) -> None:
    queue, waiting = ReadyQueue(), list[Call]()
    for step in script:
        if isinstance(step, int):
            call = Call(step)
            queue.push(call)  # type: ignore[arg-type]
            waiting.append(call)
        elif step == "first" or not waiting:
            expected = max(waiting, key=lambda call: call.depth, default=None)
            assert queue.first() is expected
        else:
            call = random.choice(waiting)
            waiting.remove(call)
            call.pending = False
            if step == "claim":
                queue.begun(call)  # type: ignore[arg-type]
    assert len(queue) >= len(waiting)


def test_a_long_sequence_of_calls_leaves_nothing_behind() -> None:
    queue = ReadyQueue()
    for _ in range(100):
        call = Call(1)
        queue.push(call)  # type: ignore[arg-type]
        call.pending = False
        queue.begun(call)  # type: ignore[arg-type]
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("bodies", "threads", "limited"), [(None, None, False), (1, None, True), (None, 1, True), (2, 2, True)]
)
def test_whether_there_is_a_limit(bodies: int | None, threads: int | None, limited: bool) -> None:
    assert bool(Limits(bodies, threads)) is limited


@given(
    st.one_of(st.none(), st.integers(1, 4)),
    st.one_of(st.none(), st.integers(1, 4)),
    st.lists(st.tuples(st.sampled_from(["begin", "wait", "go on", "end"]), st.booleans()), max_size=80),
    st.randoms(use_true_random=False),
)
def test_what_is_counted(bodies: int | None, threads: int | None, script: list[tuple[str, bool]], random: Any) -> None:
    """Whatever happens, bodies begin only below the limits, and nothing is counted twice or for ever."""
    limits, computing, resting = Limits(bodies, threads), list[Call](), list[Call]()
    for step, is_async in script:
        call = Call(is_async=is_async)
        sync = sum(not c.is_async for c in computing)
        free = (bodies is None or len(computing) < bodies) and (is_async or threads is None or sync < threads)
        assert limits.allow(call) is free  # type: ignore[arg-type]
        if step == "begin" and free:
            limits.count(call)  # type: ignore[arg-type]
            limits.count(call)  # type: ignore[arg-type]
            computing.append(call)
        elif step in ("wait", "end") and computing:
            call = computing.pop(random.randrange(len(computing)))
            limits.discount(call)  # type: ignore[arg-type]
            limits.discount(call)  # type: ignore[arg-type]
            if step == "wait":
                resting.append(call)
        elif step == "go on" and resting:
            computing.append(resting.pop())
            limits.count(computing[-1])  # type: ignore[arg-type]
