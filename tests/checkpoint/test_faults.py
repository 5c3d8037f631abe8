"""Every commit of some workflows fails once, in every way in which a commit can fail."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults import FAULTS, HIDDEN, Fault, FaultySaver

from durably import Command, InMemorySaver, RetryPolicy, Workflow, entrypoint, get_runtime, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.postgres import PostgresSaver
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import DatabaseLocked, EmptyInputError, StorageError
from durably.types import Durability
from postgres_server import Place
from savers import SHARED

THREAD = "t"


class World:
    """What the tasks do to the world outside: each effect is counted by its idempotency key."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.failed: set[str] = set()

    def effect(self) -> str:
        """Something happens outside; returns under which key."""
        key = get_runtime().call_id
        self.effects[key] += 1
        return key

    def fails_once(self) -> None:
        """The first attempt of a call fails."""
        key = get_runtime().call_id
        if key not in self.failed:
            self.failed.add(key)
            raise ConnectionError(key)


def sequence(saver: BaseCheckpointer, world: World) -> Workflow[int, Any]:
    @task
    def step(n: int) -> int:
        world.effect()
        return n + 1

    @entrypoint(checkpointer=saver)
    def run(n: int, *, previous: int = 0) -> int:
        return step(step(step(n).result()).result()).result() + previous

    return run


def gathered(saver: BaseCheckpointer, world: World) -> Workflow[int, Any]:
    @task
    async def step(n: int) -> int:
        await asyncio.sleep(0)
        world.effect()
        return n

    @task
    async def pair(n: int) -> int:
        return sum(await asyncio.gather(step(n), step(10 * n)))

    @entrypoint(checkpointer=saver)
    async def run(n: int) -> list[int]:
        return list(await asyncio.gather(pair(n), pair(n + 1), step(7)))

    return run


def asking(saver: BaseCheckpointer, world: World) -> Workflow[int, Any]:
    @task
    def step(n: int) -> int:
        world.effect()
        return n

    @task
    def asks(n: int) -> Any:
        return interrupt(n)

    @entrypoint(checkpointer=saver)
    def run(n: int) -> list[Any]:
        questions = [asks(n), asks(n + 1)]
        first = step(1).result()
        return [first, *(question.result() for question in questions), interrupt("more?"), step(2).result()]

    return run


def failing(saver: BaseCheckpointer, world: World) -> Workflow[int, Any]:
    @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    def unsteady(n: int) -> int:
        world.fails_once()
        world.effect()
        return n

    @task
    def broken(n: int) -> int:
        raise KeyError(n)

    @entrypoint(checkpointer=saver)
    def child(n: int) -> int:
        return unsteady(n).result() * 10

    @entrypoint(checkpointer=saver)
    def run(n: int) -> list[Any]:
        try:
            broken(n).result()
        except KeyError as error:
            return [error.args, unsteady(n).result(), child.invoke(n)]
        raise AssertionError

    return run


@dataclass(frozen=True)
class Case:
    """A workflow with what it must come to."""

    make: Callable[[BaseCheckpointer, World], Workflow[int, Any]]
    result: Any
    effects: int


CASES = [
    Case(sequence, 4, 3),
    Case(gathered, [11, 22, 7], 5),
    Case(asking, [1, "1!", "2!", "more?!", 2], 2),
    Case(failing, [(1,), 1, 10], 2),
]


WIDE = [
    (case, durability)
    for case in CASES
    for durability in ("sync", "async", "exit")
    if (case, durability) != (CASES[2], "sync")
]


@dataclass
class Trial:
    """A run that goes through one fault to its end."""

    case: Case
    saver: FaultySaver
    durability: Durability
    thread_id: str = THREAD

    def __post_init__(self) -> None:
        self.world = World()
        self.flow = self.case.make(self.saver, self.world)
        self.heard: list[Exception] = []

    def run(self) -> Any:
        """Invoke, resume and answer, as somebody would who looks at the thread before each step."""
        for _ in range(12):
            if any(
                run.status == "done" for run in self._under().runs(self.thread_id)
            ):  # although its caller heard an error
                return self._under().get_state(thread_id=self.thread_id).values
            given = self._next()
            before = self._finished()
            effects = Counter(self.world.effects)
            try:
                result = self._invoke(given)
            except (StorageError, ConnectionError) as error:  # the latter where the fault comes before a retry
                self.heard.append(error)
                continue
            finally:
                again = [name for name in before if self.world.effects[name] > effects[name]]
                assert not again, f"recorded calls ran again: {again}"
            if not (isinstance(result, dict) and "__interrupt__" in result):
                return result
        raise AssertionError("it does not come to an end")

    def _invoke(self, given: Any) -> Any:
        return self.flow.invoke(given, thread_id=self.thread_id, durability=self.durability)

    def _next(self) -> Any:
        """What to invoke with, by what is stored."""
        state = self._under().get_state(thread_id=self.thread_id)
        if state.interrupts:
            return Command(resume={question.id: f"{question.value}!" for question in state.interrupts})
        runs = self._under().runs(self.thread_id)
        return None if runs and not (self.durability == "exit" and runs[0].status == "running") else 1

    def _under(self) -> Workflow[int, Any]:
        return self.case.make(self.saver.under, World())

    def _finished(self) -> set[str]:
        runs = self._under().runs(self.thread_id)
        return {call.id for call in runs[0].calls() if call.status == "returned"} if runs else set()


def everywhere(case: Case, make: Callable[[], BaseCheckpointer], fault: Fault, durability: Durability) -> int:
    """Fail at each commit in turn; how many there were."""
    at = 1
    while True:
        trial = Trial(case, FaultySaver(make(), fault, at), durability, f"{fault} at {at}")
        assert trial.run() == case.result, f"{fault} at commit {at}"
        if fault in HIDDEN:
            assert not trial.heard, f"{fault} at commit {at} was heard of"
            assert set(trial.world.effects.values()) == {1}
        assert len(trial.world.effects) == case.effects or durability == "exit"
        (run,) = trial._under().runs(trial.thread_id)[:1]
        keys = [call.key for call in run.calls() if call.status == "returned"]
        assert run.status == "done"
        assert len(keys) == len(set(keys)) or fault == "denied"  # then it is written again, under the same key
        if not trial.saver.failed:
            return at - 1
        at += 1


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_a_fault_at_every_commit(case: Case, fault: Fault, durability: Durability) -> None:
    commits = everywhere(case, InMemorySaver, fault, durability)
    assert commits >= (4 if durability == "sync" else 2)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_a_fault_at_every_commit_to_a_file(tmp_path: Path, case: Case, fault: Fault) -> None:
    paths = iter(tmp_path / f"{number}.db" for number in range(100))
    assert everywhere(case, lambda: SqliteSaver(next(paths)), fault, "sync") >= 4


@pytest.mark.skipif("postgres" not in SHARED, reason="only on one of the Pythons")
@pytest.mark.parametrize(
    ("case", "durability"),
    [(CASES[2], "sync"), *(pytest.param(case, durability, marks=pytest.mark.wide) for case, durability in WIDE)],
    ids=lambda given: given if isinstance(given, str) else given.make.__name__,
)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_commit_to_a_server(postgres: Place, case: Case, fault: Fault, durability: Durability) -> None:
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()
        assert everywhere(case, lambda: saver, fault, durability) >= (4 if durability == "sync" else 2)


@task(transactional=True)
def pay(amount: int, connection: Any) -> int:
    mark = "?" if isinstance(connection, sqlite3.Connection) else "%s"
    connection.execute(f"insert into payment values ({mark}, {mark})", (get_runtime().call_id, amount))
    return amount


def paying(saver: BaseCheckpointer, world: World) -> Workflow[int, Any]:
    @task
    def step(n: int) -> int:
        world.effect()
        return n

    @entrypoint(checkpointer=saver)
    def run(n: int) -> list[int]:
        calls = [pay(1), step(2), pay(3)]
        return [*(call.result() for call in calls), step(4).result(), pay(5).result()]

    return run


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("fault", FAULTS)
def test_rows_and_records_of_transactional_tasks_stay_equal(fault: Fault, durability: Durability) -> None:
    made: list[SqliteSaver] = []

    def make() -> SqliteSaver:
        made.append(SqliteSaver(":memory:"))
        made[-1]._database.run("create table payment (call_id text, amount integer)")
        return made[-1]

    assert everywhere(Case(paying, [1, 2, 3, 4, 5], 2), make, fault, durability) >= 5
    for saver in made:
        paid = saver._database.rows("select amount from payment order by amount")
        assert paid == [(1,), (3,), (5,)]


@pytest.mark.wide
@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("fault", FAULTS)
def test_rows_and_records_stay_equal_on_a_server(postgres: Place, fault: Fault, durability: Durability) -> None:
    with PostgresSaver(f"{postgres.conninfo} options=-csearch_path={postgres.schema}", schema=postgres.schema) as saver:
        saver.setup()
        saver._database.run("create table payment (call_id text primary key, amount integer)")
        trials = everywhere(Case(paying, [1, 2, 3, 4, 5], 2), lambda: saver, fault, durability) + 1
        paid = saver._database.rows("select amount, count(*) from payment group by 1 order by 1")
        assert paid == [(1, trials), (3, trials), (5, trials)]


# What else is written than by runs.


@pytest.mark.parametrize("fault", HIDDEN)
def test_retention_finds_out_too(fault: Fault) -> None:
    saver = FaultySaver(InMemorySaver())
    flow = sequence(saver, World())
    for _ in range(3):
        flow.invoke(0, thread_id=THREAD)
    saver.fault, saver.at = fault, saver.commits + 1
    assert saver.prune(THREAD, keep_last=1) == 1
    assert saver.failed
    saver.at, saver.times = saver.commits + 1, 2
    flow.update_state(None, 100, thread_id=THREAD)
    assert saver.failed
    assert flow.get_state(thread_id=THREAD).values == 100
    assert len(flow.runs(THREAD)) == 3


def test_what_is_never_found_out_ends_the_attempt_and_not_the_run() -> None:
    saver = FaultySaver(InMemorySaver(), "kept", 2, times=10_000_000)
    saver.patience = 0.02
    world = World()
    flow = sequence(saver, world)
    with pytest.raises(DatabaseLocked, match="not there yet"):
        flow.invoke(0, thread_id=THREAD, durability="sync")
    saver.times = 0
    assert flow.invoke(None, thread_id=THREAD) == 3
    assert set(world.effects.values()) == {1}


def test_a_caller_who_was_cancelled_meanwhile_writes_nothing_later() -> None:
    saver = FaultySaver(InMemorySaver(), "lost", 1, times=10_000_000)
    flow = gathered(saver, World())

    async def main() -> None:
        attempt = asyncio.create_task(flow.ainvoke(1, thread_id=THREAD))
        while not saver.failed:
            await asyncio.sleep(0)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        saver.times = 0

    asyncio.run(main())
    assert flow.runs(THREAD) == []
    with pytest.raises(EmptyInputError):
        flow.invoke(None, thread_id=THREAD)
