"""What workers do while they are killed: each scenario is a workflow, how it is brought further, and what must come out."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from ledger import Ledger, Verdict

from durably import Command, Workflow, entrypoint, get_runtime, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.errors import AlreadyAnswered, EmptyInputError, Superseded, ThreadBusy, UnknownInterruptError

RACES = (ThreadBusy, EmptyInputError, UnknownInterruptError, AlreadyAnswered, Superseded)
"""What a worker hears where another one was faster."""


class Scenario:
    """Work for many threads and processes at once.

    Args:
        saver: where runs are stored.
        ledger: what happens.
        folder: where a file named ``stop`` ends it.
        size: how many runs there are to be, where they are counted.
    """

    def __init__(self, saver: BaseCheckpointer, ledger: Ledger, folder: Path, size: int) -> None:
        self.saver = saver
        self.ledger = ledger
        self.folder = folder
        self.size = size

    @property
    def stopped(self) -> bool:
        """Whether the supervisor has had enough."""
        return (self.folder / "stop").exists()

    def begin(self) -> str:
        """A task begins; returns the key of its call."""
        call_id = get_runtime().call_id
        self.ledger.note("begin", call_id, os.getpid())
        return call_id

    def seen(self, call_id: str) -> None:
        """A workflow has seen what a task returned."""
        self.ledger.note("seen", call_id)

    def work(self, seed: int) -> None:
        """On one thread of a worker: advance runs until there are none left."""
        raise NotImplementedError

    def finish(self) -> None:
        """Clear up what the killed have left open."""
        raise NotImplementedError

    def judge(self, verdict: Verdict) -> Iterator[str]:
        """Which rules the database breaks."""
        raise NotImplementedError

    def sync_calls(self) -> set[str]:
        """The calls made in durability ``sync``."""
        raise NotImplementedError


class Many(Scenario):
    """A number of runs, each on a thread of its own, that every worker wants to bring to its end."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.flow = self.workflow()
        self._done: set[int] = set()

    def workflow(self) -> Workflow[int, Any]:
        """What is run."""
        raise NotImplementedError

    def expected(self, n: int) -> Any:
        """What run ``n`` must return."""
        raise NotImplementedError

    def step(self) -> Any:
        """A task that leaves its traces."""

        @task
        def step(n: int) -> tuple[str, int]:
            return self.begin(), n + 1

        def take(n: int) -> int:
            call_id, found = step(n).result()
            self.seen(call_id)
            return found

        return take

    def work(self, seed: int) -> None:
        chance = random.Random(seed)
        order = list(range(self.size))
        chance.shuffle(order)
        while len(self._done) < self.size and not self.stopped:
            for n in order:
                if n not in self._done and not self.stopped:
                    self._advance(n)

    def _advance(self, n: int) -> None:
        how: Any = {"thread_id": f"t{n}", "durability": "sync" if n % 2 else "async"}
        try:
            found = self.flow.invoke(n, idempotency_key="once", **how)
            while isinstance(found, dict) and "__interrupt__" in found:
                answers = {question.id: question.value + 1 for question in found["__interrupt__"]}
                found = self.flow.invoke(Command(resume=answers), **how)
        except RACES as error:
            if isinstance(error, Superseded):
                self.ledger.note("fenced", os.getpid())
            return
        if found != self.expected(n):
            self.ledger.note("wrong", f"t{n}", found)
        self._done.add(n)

    def finish(self) -> None:
        self.flow.recover()
        for n in range(self.size):
            self._advance(n)

    def judge(self, verdict: Verdict) -> Iterator[str]:
        for n in range(self.size):
            runs = self.flow.runs(f"t{n}", limit=10)
            verdict.runs += len(runs)
            if [run.status for run in runs] != ["done"]:
                yield f"t{n} has the runs {[run.status for run in runs]}"
            yield from twice(runs)
            value = self.flow.get_state(thread_id=f"t{n}").values
            if value != self.expected(n):
                yield f"t{n} came to {value}, not {self.expected(n)}"

    def sync_calls(self) -> set[str]:
        odd = (run for n in range(1, self.size, 2) for run in self.flow.runs(f"t{n}", limit=10))
        return {call.id for run in odd for call in run.calls()}


class Steps(Many):
    """Workflows of three steps."""

    def workflow(self) -> Workflow[int, Any]:
        step = self.step()
        return entrypoint(checkpointer=self.saver, name="steps")(lambda n: step(step(step(n))))

    def expected(self, n: int) -> Any:
        return n + 3


class Questions(Many):
    """Workflows that ask, and are answered."""

    def workflow(self) -> Workflow[int, Any]:
        step = self.step()
        return entrypoint(checkpointer=self.saver, name="questions")(lambda n: step(interrupt(step(n))))

    def expected(self, n: int) -> Any:
        return n + 3


class Children(Many):
    """Workflows that call another one twice."""

    def workflow(self) -> Workflow[int, Any]:
        step = self.step()
        child = entrypoint(name="child")(lambda n: step(n))
        return entrypoint(checkpointer=self.saver, name="parent")(
            lambda n: step(child.invoke(n) + child.invoke(10 * n))
        )

    def expected(self, n: int) -> Any:
        return 11 * n + 3


class Lines(Scenario):
    """A dozen threads on which run follows run, in both colours, with questions, until the supervisor has had enough."""

    THREADS: ClassVar = tuple(f"t{number}" for number in range(12))

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.flows = (self._sync(), self._async())

    def _tasks(self) -> Callable[[int], list[Any]]:
        @task
        def step(seconds: float) -> str:
            call_id = self.begin()
            time.sleep(seconds)
            return call_id

        @task
        async def astep(seconds: float) -> str:
            call_id = self.begin()
            await asyncio.sleep(seconds)
            return call_id

        @task
        def both(seconds: float) -> str:
            for future in (step(seconds), astep(seconds)):
                self.seen(future.result())
            return self.begin()

        self.last = step
        return lambda number: [step(0.002 * (number % 3)), both(0.001), astep(0.003)]

    def _sync(self) -> Workflow[int, list[int]]:
        calls = self._tasks()

        @entrypoint(checkpointer=self.saver, name="count", on_busy="enqueue")
        def count(number: int, *, previous: list[int] | None = None) -> list[int]:
            for future in calls(number):
                self.seen(future.result())
            if number % 4 == 1:
                assert interrupt(f"{number}?") == number
            self.seen(self.last(0.001).result())
            return [*(previous or ()), number]

        return count

    def _async(self) -> Workflow[int, list[int]]:
        calls = self._tasks()

        @entrypoint(checkpointer=self.saver, name="count", on_busy="enqueue")
        async def count(number: int, *, previous: list[int] | None = None) -> list[int]:
            for future in calls(number):
                self.seen(await future)
            if number % 4 == 1:
                assert interrupt(f"{number}?") == number
            self.seen(await self.last(0.001))
            return [*(previous or ()), number]

        return count

    def work(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self.stopped:
            if chance.random() < 0.05:
                self.flows[0].recover()
            try:
                self._advance(self.flows[chance.randrange(2)], chance.choice(self.THREADS))
            except RACES as error:
                if isinstance(error, Superseded):
                    self.ledger.note("fenced", os.getpid())

    def _advance(self, flow: Workflow[int, list[int]], thread: str) -> None:
        """Bring a thread one run further: answer what it asks, or start the run that comes next."""
        state = flow.get_state(thread_id=thread)
        done = state.values or []
        how: Any = {"thread_id": thread, "durability": "sync" if self.THREADS.index(thread) % 2 else "async"}
        given: Any = len(done)
        if state.interrupts:
            given = Command(resume={question.id: int(question.value.rstrip("?")) for question in state.interrupts})
        else:
            how["idempotency_key"] = f"{thread}:{len(done)}"
        if flow is self.flows[0]:
            flow.invoke(given, **how)
        else:
            asyncio.run(flow.ainvoke(given, **how))

    def finish(self) -> None:
        self.flows[0].recover()
        for thread in self.THREADS:
            if self.flows[0].get_state(thread_id=thread).interrupts:
                self._advance(self.flows[0], thread)

    def judge(self, verdict: Verdict) -> Iterator[str]:
        """Every accepted run is done, and was done once; each thread has counted every run."""
        for thread in self.THREADS:
            runs = self.flows[0].runs(thread, limit=1_000_000)
            verdict.runs += len(runs)
            yield from (f"run {run.run_id} on {thread} is {run.status}" for run in runs if run.status != "done")
            yield from twice(runs)
            values = self.flows[0].get_state(thread_id=thread).values or []
            if values != list(range(len(runs))):
                yield f"{thread} has {len(runs)} runs and counted {values}"

    def sync_calls(self) -> set[str]:
        runs = (run for thread in self.THREADS[1::2] for run in self.flows[0].runs(thread, limit=1_000_000))
        return {call.id for run in runs for call in run.calls()}


def twice(runs: Any) -> Iterator[str]:
    """Calls that a run has recorded more than once."""
    for run in runs:
        keys = [call.key for call in run.calls() if call.status == "returned"]
        if len(keys) != len(set(keys)):
            yield f"run {run.run_id} has recorded a call twice"


SCENARIOS: dict[str, type[Scenario]] = {
    "lines": Lines,
    "steps": Steps,
    "questions": Questions,
    "children": Children,
}
