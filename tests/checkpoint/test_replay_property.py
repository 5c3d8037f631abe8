"""Random programs, stopped anywhere, end with the same result, and no finished call runs again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from replaying import Boom, FaultySaver

from durably import Command, entrypoint, get_runtime, interrupt, task
from durably.engine.identity import call_id
from durably.engine.journal import RETURNED
from durably.errors import EmptyInputError, StorageError

Step = tuple[str, Any]


class Handled(Exception):
    """What failing tasks raise; every program handles it."""


def expected(steps: list[Step]) -> list[Any]:
    """What a program returns when nothing stops it."""
    return [_expected(kind, given) for kind, given in steps]


def _expected(kind: str, given: Any) -> Any:
    if kind in ("nest", "gather"):
        return expected(given)
    return {"work": ("did", given), "fail": ("failed", given), "ask": ("answered", given)}[kind]


@dataclass
class Machine:
    """Runs programs; notes which calls ran, and fails the one it is told to.

    Args:
        fails_at: the number of the call that fails, from 1; None for none.
    """

    fails_at: int | None = None
    calls: int = 0

    def __post_init__(self) -> None:
        self.ran: list[str] = []
        self.work, self.fail = task(name="work")(self._work), task(name="fail")(self._fail)
        self.nest, self.awork = task(name="nest")(self.run), task(name="work")(self._awork)
        self.anest = task(name="nest")(self.arun)

    def step_in(self) -> None:
        """A call begins."""
        self.calls += 1
        if self.calls == self.fails_at:
            raise Boom(self.calls)
        self.ran.append(get_runtime().execution_info.task_id)

    def _work(self, n: int) -> Any:
        self.step_in()
        return ("did", n)

    async def _awork(self, n: int) -> Any:
        self.step_in()
        await asyncio.sleep(0)
        return ("did", n)

    def _fail(self, n: int) -> Any:
        self.step_in()
        raise Handled(n)

    def run(self, steps: list[Step]) -> list[Any]:
        """A program, the sync way."""
        return [self._step(kind, given) for kind, given in steps]

    def _step(self, kind: str, given: Any) -> Any:
        if kind == "gather":
            futures = [(self.work if kind == "work" else self.nest)(given) for kind, given in given]
            return [future.result() for future in futures]
        if kind == "ask":
            return interrupt(given)
        if kind != "fail":
            return (self.work if kind == "work" else self.nest)(given).result()
        try:
            return self.fail(given).result()
        except Handled as error:
            return ("failed", *error.args)

    async def arun(self, steps: list[Step]) -> list[Any]:
        """A program, the async way: what is gathered are branches."""
        return [await self._astep(kind, given) for kind, given in steps]

    async def _astep(self, kind: str, given: Any) -> Any:
        if kind == "gather":
            return list(await asyncio.gather(*(self._astep(kind, given) for kind, given in given)))
        if kind == "ask":
            return interrupt(given)
        if kind == "work":  # in both colours
            return await (self.awork if given % 2 else self.work)(given)
        if kind == "nest":
            return await self.anest(given)
        try:
            return await self.fail(given)
        except Handled as error:
            return ("failed", *error.args)


def workflow(machine: Machine, saver: FaultySaver, is_async: bool) -> Any:
    return entrypoint(checkpointer=saver, name="program")(machine.arun if is_async else machine.run)


def finished(saver: FaultySaver) -> set[str]:
    """The ids of the calls whose results are recorded."""
    if saver._tables.open("t").run is None:
        return set()
    run_id = saver.run_of("t").run_id
    return {call_id(run_id, record.key) for record in saver.journal("t") if record.kind == RETURNED}


def attempts(steps: list[Step], stops: list[tuple[str, int]], mode: str, is_async: bool) -> Iterator[None]:
    """Run a program to its end, one attempt after another, each stopped as told; check every one."""
    saver, pending = FaultySaver(), list(stops)
    given: Any = steps
    while True:
        how, at = pending.pop(0) if pending else ("", 0)
        saver = FaultySaver(saver, fails_at=at if how in ("die", "trip") else None, dead=how == "die")
        machine = Machine(fails_at=at if how == "call" else None)
        done = finished(saver)
        try:
            result = workflow(machine, saver, is_async).invoke(given, thread_id="t", durability=mode)
        except EmptyInputError:
            result, given = None, steps  # nothing of the run had been written
        except (StorageError, Boom):
            event(f"stopped by {how}")
            result, given = None, None
        assert not done & set(machine.ran), "a finished call ran again"
        assert len(machine.ran) == len(set(machine.ran)), "one id, two calls"
        if isinstance(result, dict):
            event("asked")
            given = Command(resume={q.id: ("answered", q.value) for q in result["__interrupt__"]})
        elif result is not None:
            assert result == expected(steps)
            return
        yield


leaf = st.tuples(st.sampled_from(["work", "fail", "ask"]), st.integers(0, 2))
work = st.tuples(st.just("work"), st.integers(0, 2))
sync_programs = st.recursive(
    st.lists(leaf, max_size=3),
    lambda inner: st.lists(
        leaf
        | st.tuples(st.just("nest"), inner)
        | st.tuples(st.just("gather"), st.lists(work | st.tuples(st.just("nest"), inner), max_size=4)),
        min_size=1,
        max_size=3,
    ),
    max_leaves=6,
)
async_programs = st.recursive(
    st.lists(leaf, max_size=3),
    lambda inner: st.lists(
        leaf | st.tuples(st.just("nest"), inner) | st.tuples(st.just("gather"), inner), min_size=1, max_size=3
    ),
    max_leaves=8,
)
stops = st.lists(st.tuples(st.sampled_from(["die", "trip", "call"]), st.integers(1, 8)), max_size=5)
modes = st.sampled_from(["sync", "async", "exit"])


def run_to_the_end(steps: list[Step], stops: list[tuple[str, int]], mode: str, is_async: bool) -> None:
    for number, _ in enumerate(attempts(steps, stops, mode, is_async)):
        assert number < 200, "it goes round in circles"


@given(sync_programs, stops, modes)
@example([("gather", [("work", 1)] * 3)], [("call", 1), ("die", 4)], "sync")
@settings(max_examples=150)
def test_sync_programs(steps: list[Step], stops: list[tuple[str, int]], mode: str) -> None:
    run_to_the_end(steps, stops, mode, is_async=False)


@given(async_programs, stops, modes)
@example([("gather", [("work", 1)] * 3), ("ask", 0)], [("call", 1), ("die", 4)], "sync")
@settings(max_examples=150)
def test_async_programs(steps: list[Step], stops: list[tuple[str, int]], mode: str) -> None:
    run_to_the_end(steps, stops, mode, is_async=True)
