"""When threads are given calls that nobody has asked for yet. The sentinel's looks are made by hand here."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from durably.engine import schedule
from durably.engine.queue import Limits
from durably.engine.schedule import CALM, LIVELY, PATIENCE, QUICK, Scheduler


class Call:
    """As much of a call of a sync function as a scheduler sees."""

    depth = 1
    children: set[Any] | None = None
    function = SimpleNamespace(is_async=False, is_passive=False)

    def __init__(self) -> None:
        self.pending = True
        self.lasts: Callable[[], object] = lambda: None

    def begin(self) -> bool:
        was, self.pending = self.pending, False
        return was

    def execute(self) -> None:
        self.lasts()


class Bench:
    """A scheduler whose clock stands still between looks, and what it has asked the pool for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.offers: list[int] = []
        self.finished = 0
        monkeypatch.setattr(schedule, "pool", self)
        monkeypatch.setattr(schedule, "sentinel", SimpleNamespace(watch=lambda watched: None))
        monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.scheduler = Scheduler(None, Limits(None, None))
        self.body: Any = Call()

    def offer(self, job: Callable[[], None], wanted: int) -> None:
        self.offers.append(wanted)
        self.job = job

    def make(self, count: int) -> list[Any]:
        calls: list[Any] = [Call() for _ in range(count)]
        for call in calls:
            self.scheduler.add(call, self.body)
        return calls

    def look(self, seconds: float = 0.001) -> list[int]:
        """What one look leads to."""
        self.offers.clear()
        self.now += seconds
        self.scheduler.tick(self.now)
        return self.offers[:]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_calls_that_were_left_alone_are_handed_over(bench: Bench) -> None:
    bench.make(2)
    assert bench.look() == [2]
    assert bench.look() == [2]


def test_a_single_call_waits_for_a_second_look(bench: Bench) -> None:
    bench.make(1)
    assert bench.look() == []
    assert bench.look() == [1]


def test_who_makes_or_runs_calls_fast_is_left_to_it(bench: Bench) -> None:
    calls = bench.make(3 * LIVELY)
    assert bench.look() == []
    for call in calls[: 2 * LIVELY]:
        assert bench.scheduler.claim(call)
    assert bench.look() == []
    for _ in range(CALM - 1):
        assert bench.look() == []
    assert bench.look() == [LIVELY]  # now they wait for something


def test_what_the_pool_runs_is_no_sign_of_life(bench: Bench) -> None:
    bench.make(3 * LIVELY)
    for _ in range(CALM):
        bench.look()
    for _ in range(LIVELY):
        bench.scheduler._take_first(bench.scheduler._sync)
    assert bench.look() == [2 * LIVELY]


def test_one_thread_tries_whether_the_bodies_take_long(bench: Bench) -> None:
    calls = bench.make(LIVELY)
    bench.look()
    calls += bench.make(LIVELY)
    assert bench.look(2 * PATIENCE) == [1]
    bench.job()
    assert [call.pending for call in calls].count(False) == 1  # it has left again
    for call in calls[:LIVELY]:
        call.lasts = lambda: setattr(bench, "now", bench.now + 2 * QUICK)
    bench.job()
    assert [call.pending for call in calls].count(False) == LIVELY + 1  # the first that was quick again is its last


def test_calls_made_on_a_loop_have_nobody_but_threads(bench: Bench) -> None:
    bench.make(2 * LIVELY)
    bench.scheduler._sweep()
    assert bench.offers == [2 * LIVELY]
    assert bench.look() == [2 * LIVELY]


def test_more_and_more_threads_try_until_one_finds_bodies_quick(bench: Bench) -> None:
    bench.make(LIVELY)
    bench.look()
    for threads in (1, 2, 4, 8):
        bench.make(LIVELY)
        assert bench.look(PATIENCE / 2) == []
        bench.make(LIVELY)
        assert bench.look(PATIENCE) == [threads]
    bench.job()
    bench.make(2 * LIVELY)
    assert bench.look(2 * PATIENCE) == [1]
