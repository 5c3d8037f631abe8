"""What workflows may rely on, whichever checkpointer keeps their runs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal

from msgspec.structs import replace

from ..checkpoint.base import BaseCheckpointer
from ..config import get_stream_writer
from ..errors import EmptyInputError, Superseded, ThreadBusy, UnknownInterruptError
from ..func import entrypoint, task
from ..types import Command, interrupt
from .base import Contract, expect, one, opened, records

__all__ = ["RunContract"]

Mode = Literal["sync", "async", "exit"]
MODES: Final[tuple[Mode, ...]] = ("sync", "async", "exit")


class Trouble(Exception):
    """What the tasks of this suite raise."""


class Ledger:
    """Notes which tasks ran, and makes tasks that fail for as long as they are told to."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.failing: set[Any] = set()
        self.double = task(name="double")(self._double)
        self.adouble = task(name="adouble")(self._adouble)

    def _double(self, value: Any) -> Any:
        if value in self.failing:
            raise Trouble(value)
        self.done.append(value)
        return value * 2

    async def _adouble(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return self._double(value)

    def take(self) -> list[Any]:
        """What has run since the last time."""
        taken, self.done = self.done, []
        return taken


def in_thread(call: Callable[[], Any]) -> Any:
    """What a call does in a thread that knows of no run."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return outcome[0]


class RunContract(Contract):
    """Tests of workflows on a checkpointer."""

    # Threads.

    def test_runs_of_a_thread_share_previous_and_others_do_not(self) -> None:
        """None at first, then what the last run returned or saved."""
        saver = self.fresh()

        @entrypoint(checkpointer=saver)
        def count(step: int, *, previous: int | None) -> Any:
            total = (previous or 0) + step
            return entrypoint.final(value=f"now {total}", save=total) if step > 5 else total

        assert [count.invoke(step, thread_id="a") for step in (1, 2, 10)] == [1, 3, "now 13"]
        assert count.invoke(1, thread_id="b") == 1
        assert count.invoke(4, thread_id="a") == 17

    def test_falsy_results_are_results(self) -> None:
        """They are not computed again, and neither is a falsy ``previous`` missing."""
        saver, ran = self.fresh(), list[Any]()

        @task
        def echo(value: Any) -> Any:
            ran.append(value)
            return value

        @entrypoint(checkpointer=saver)
        def ask(values: list[Any], *, previous: Any = "none yet") -> Any:
            found = [echo(value).result() for value in values]
            return [previous, found, interrupt("go on?")][1 if values else 0]

        falsy: list[Any] = [None, False, 0, 0.0, "", b"", (), [], {}, set(), frozenset()]
        ask.invoke(falsy, thread_id="a")
        again = ask.invoke(Command(resume=None), thread_id="a")
        assert again == falsy
        assert [type(value) for value in again] == [type(value) for value in falsy]
        assert ran == falsy
        ask.invoke([], thread_id="a")
        assert ask.invoke(Command(resume=0), thread_id="a") == falsy

    def test_a_busy_thread_is_refused(self) -> None:
        """While a run is under way; its own thread is free again at its end."""
        saver = self.fresh()

        @entrypoint(checkpointer=saver)
        def outer(again: bool) -> Any:
            return in_thread(lambda: outer.invoke(False, thread_id="a")) if again else "free"

        assert isinstance(outer.invoke(True, thread_id="a"), ThreadBusy)
        assert outer.invoke(False, thread_id="a") == "free"

    def test_many_runs_at_once(self) -> None:
        """On threads of their own, from many threads of the program."""
        saver, ledger = self.fresh(), Ledger()

        @entrypoint(checkpointer=saver)
        def add(numbers: list[int], *, previous: int | None) -> Any:
            return (previous or 0) + sum(f.result() for f in [ledger.double(n) for n in numbers])

        inputs = [[n, n + 1, n + 2] for n in range(12)]
        configs = [{"configurable": {"thread_id": f"t{n}"}} for n in range(12)]
        expected = [2 * sum(numbers) for numbers in inputs]
        assert add.batch(inputs, configs) == expected
        assert add.batch(inputs, configs) == [2 * total for total in expected]

    # Failures.

    def test_a_failed_run_goes_on_where_it_failed(self) -> None:
        """In every durability: what had finished does not run again, and what failed does."""
        for mode in MODES:
            self._a_failed_run_goes_on_where_it_failed(mode)

    def _a_failed_run_goes_on_where_it_failed(self, mode: Mode) -> None:
        saver, ledger = self.fresh(), Ledger()

        @entrypoint(checkpointer=saver)
        def chain(start: int) -> Any:
            return sum(ledger.double(start + i).result() for i in range(4))

        ledger.failing = {12}
        with expect(Trouble):
            chain.invoke(10, thread_id="a", durability=mode)
        assert ledger.take() == [10, 11]
        with expect(Trouble):
            chain.invoke(None, thread_id="a", durability=mode)
        assert ledger.take() == []
        ledger.failing = set()
        assert chain.invoke(None, thread_id="a", durability=mode) == 92
        assert ledger.take() == [12, 13]
        with expect(EmptyInputError):
            chain.invoke(None, thread_id="a")

    def test_a_failed_async_run_goes_on_where_it_failed(self) -> None:
        """Likewise with tasks side by side on an event loop."""
        for mode in MODES:
            self._a_failed_async_run_goes_on_where_it_failed(mode)

    def _a_failed_async_run_goes_on_where_it_failed(self, mode: Mode) -> None:
        saver, ledger = self.fresh(), Ledger()

        @entrypoint(checkpointer=saver)
        async def gather(numbers: list[int]) -> Any:
            first = await asyncio.gather(*map(ledger.adouble, numbers))
            return [*first, await ledger.adouble(sum(first))]

        ledger.failing = {12}

        async def whole() -> Any:
            with expect(Trouble):
                await gather.ainvoke([1, 2, 3], thread_id="a", durability=mode)
            assert sorted(ledger.take()) == [1, 2, 3]
            ledger.failing = set()
            return await gather.ainvoke(None, thread_id="a", durability=mode)

        assert asyncio.run(whole()) == [2, 4, 6, 24]
        assert ledger.take() == [12]

    def test_a_handled_failure_is_history(self) -> None:
        """On replay the same exception is raised, and its task does not run."""
        saver, ledger = self.fresh(), Ledger()

        @entrypoint(checkpointer=saver)
        def cautious(value: int) -> Any:
            try:
                found = ledger.double(value).result()
            except Trouble as trouble:
                found = ("failed", *trouble.args)
            return found, interrupt("and?")

        ledger.failing = {7}
        cautious.invoke(7, thread_id="a")
        ledger.failing = set()
        assert cautious.invoke(Command(resume="ok"), thread_id="a") == (("failed", 7), "ok")
        assert ledger.take() == []

    def test_a_superseded_attempt_writes_nothing(self) -> None:
        """Another attempt has taken the thread: this one's results stay out of the journal."""
        for mode in MODES:
            self._a_superseded_attempt_writes_nothing(mode)

    def _a_superseded_attempt_writes_nothing(self, mode: Mode) -> None:
        saver, ledger = self.fresh(), Ledger()

        @task
        def lose_the_thread() -> str:
            def take_over(transaction: Any) -> None:
                thread = transaction.open("a").thread
                transaction.put_thread(replace(thread, fence=thread.fence + 1, owner=""))

            one(saver, take_over)
            return "lost"

        @entrypoint(checkpointer=saver)
        def run(value: int) -> Any:
            first = ledger.double(value).result()
            return [first, lose_the_thread().result(), ledger.double(value + 1).result()]

        with expect(Superseded):
            run.invoke(1, thread_id="a", durability=mode)
        found = opened(saver, "a")
        assert found.run is not None
        assert found.run.status == "running"
        assert found.saved is None
        assert not any(b"lost" in data for data in records(saver, found.run))

    # Questions.

    def test_an_answer_goes_on_without_repeating_tasks(self) -> None:
        """In every durability, in the workflow and in a task."""
        for mode in MODES:
            self._an_answer_goes_on_without_repeating_tasks(mode)

    def _an_answer_goes_on_without_repeating_tasks(self, mode: Mode) -> None:
        saver, ledger = self.fresh(), Ledger()

        @task
        def confirm(what: str) -> Any:
            return interrupt({"what": what})

        @entrypoint(checkpointer=saver)
        def publish(value: int) -> Any:
            first = ledger.double(value).result()
            sure = confirm("publish").result()
            second = ledger.double(first).result()
            return [second, sure, interrupt("how?")]

        asked: Any = publish.invoke(1, thread_id="a", durability=mode)
        assert [question.value for question in asked["__interrupt__"]] == [{"what": "publish"}]
        asked = publish.invoke(Command(resume="yes"), thread_id="a", durability=mode)
        assert [question.value for question in asked["__interrupt__"]] == ["how?"]
        assert publish.invoke(Command(resume="loudly"), thread_id="a", durability=mode) == [4, "yes", "loudly"]
        assert ledger.take() == [1, 2]
        with expect(UnknownInterruptError):
            publish.invoke(Command(resume="again"), thread_id="a")

    def test_open_questions_are_answered_by_id(self) -> None:
        """Some now, the others later."""
        saver = self.fresh()

        @task
        def confirm(what: str) -> Any:
            return interrupt(what)

        @entrypoint(checkpointer=saver)
        def publish(parts: list[str]) -> Any:
            return [answer.result() for answer in [confirm(part) for part in parts]]

        asked: Any = publish.invoke(["a", "b", "c"], thread_id="t")
        ids = {question.value: question.id for question in asked["__interrupt__"]}
        assert sorted(ids) == ["a", "b", "c"]
        asked = publish.invoke(Command(resume={ids["b"]: 2, ids["a"]: 1}), thread_id="t")
        assert [(question.value, question.id) for question in asked["__interrupt__"]] == [("c", ids["c"])]
        assert publish.invoke(Command(resume={ids["c"]: 3}), thread_id="t") == [1, 2, 3]

    def test_another_object_goes_on_with_the_run(self) -> None:
        """As a program does that was started again."""
        saver, ledger = self.fresh(), Ledger()

        def publish_on(checkpointer: BaseCheckpointer) -> Any:
            @entrypoint(checkpointer=checkpointer, name="publish")
            def publish(value: int, *, previous: Any = "first") -> Any:
                return [ledger.double(value).result(), interrupt("sure?"), previous]

            return publish

        publish_on(saver).invoke(1, thread_id="a")
        other = self.another(saver)
        if other is None:
            return
        assert publish_on(other).invoke(Command(resume="yes"), thread_id="a") == [2, "yes", "first"]
        assert ledger.take() == [1]
        publish_on(saver).invoke(5, thread_id="a")
        assert publish_on(other).invoke(Command(resume=1), thread_id="a") == [10, 1, [2, "yes", "first"]]

    # Following.

    def test_a_run_can_be_followed_while_it_runs_and_joined_later(self) -> None:
        """From any event on; what its bodies wrote is there, and a further attempt is marked."""
        gate = threading.Event()

        @task
        def write(words: list[str]) -> int:
            for word in words:
                get_stream_writer()(word)
            gate.wait(30)
            return len(words)

        @entrypoint(checkpointer=self.fresh(), durable_stream=True)
        def workflow(words: list[str]) -> Any:
            return write(words).result(), interrupt("more?")

        runner = threading.Thread(target=workflow.invoke, args=(["a", "b"],), kwargs={"thread_id": "a"})
        runner.start()
        while not workflow.get_state(thread_id="a").next:
            time.sleep(0.001)
        events = workflow.join_stream(thread_id="a", stream_mode=["custom", "updates"])
        seen = [next(events), next(events)]
        gate.set()
        seen += events
        runner.join()
        assert [event.data for event in seen[:3]] == ["a", "b", {"write": 2}]
        assert list(seen[3].data) == ["__interrupt__"]
        assert workflow.invoke(Command(resume="no"), thread_id="a") == (2, "no")
        rest = list(workflow.join_stream(thread_id="a", stream_mode=["custom", "updates"], after=seen[1].id))
        assert rest[:2] == seen[2:]
        assert [(event.attempt, event.type) for event in rest[2:]] == [(2, "attempt"), (2, "updates")]
