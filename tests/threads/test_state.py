"""How a thread stands, how it came to it, and what is changed from outside."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from durably import Command, Workflow, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.memory import InMemorySaver
from durably.errors import ConfigError, EmptyInputError, ThreadBusy
from durably.state import StateUpdate

CONFIG = {"configurable": {"thread_id": "t"}}


class Boom(Exception):
    """What a workflow raises."""


@pytest.fixture
def total(saver: BaseCheckpointer) -> Workflow[int, int]:
    @entrypoint(checkpointer=saver)
    def total(amount: int, *, previous: int | None = None) -> int:
        return (previous or 0) + amount

    return total


@pytest.fixture
def ask(saver: BaseCheckpointer) -> Workflow[str, Any]:
    @task
    def shout(text: str) -> str:
        return text.upper()

    @entrypoint(checkpointer=saver)
    def ask(text: str) -> Any:
        return [shout(text).result(), interrupt({"sure": text})]

    return ask


def seen(snapshots: Any) -> list[tuple[Any, Any, Any, Any]]:
    return [(s.values, s.next, s.metadata["source"], s.metadata["step"]) for s in snapshots]


class TestOneState:
    def test_of_an_unknown_thread(self, total: Workflow[int, int], do: Any) -> None:
        state = do(total, "get_state", CONFIG)
        assert (state.values, state.next, state.tasks, state.interrupts) == ({}, (), (), ())
        assert (state.metadata, state.created_at, state.parent_config) == (None, None, None)
        assert state.config["configurable"]["thread_id"] == "t"
        assert do(total, "get_state_history", CONFIG) == []
        assert do(total, "runs", "t") == []

    def test_an_unknown_thread_has_no_checkpoint(self, total: Workflow[int, int], do: Any) -> None:
        with pytest.raises(ConfigError, match="never run"):
            do(total, "get_state", {"configurable": {"thread_id": "t", "checkpoint_id": "0" * 32 + "-0"}})

    def test_of_a_run_that_is_done(self, total: Workflow[int, int], do: Any) -> None:
        do(total, "invoke", 3, CONFIG)
        state = do(total, "get_state", CONFIG)
        assert (state.values, state.next, state.tasks, state.interrupts) == (3, (), (), ())
        assert state.metadata["source"] == "loop"
        assert state.metadata["step"] == 0
        assert state.parent_config["configurable"]["checkpoint_id"] < state.config["configurable"]["checkpoint_id"]
        assert datetime.fromisoformat(state.created_at).tzinfo is not None

    def test_of_a_value_that_is_returned_and_one_that_is_saved(self, saver: BaseCheckpointer, do: Any) -> None:
        @entrypoint(checkpointer=saver)
        def split(_: str, *, previous: Any = None) -> Any:
            return entrypoint.final(value=previous, save="saved")

        split.invoke("", CONFIG)
        assert do(split, "get_state", CONFIG).values is None
        split.invoke("", CONFIG)
        assert do(split, "get_state", CONFIG).values == "saved"

    def test_of_a_run_that_failed(self, saver: BaseCheckpointer, do: Any) -> None:
        @entrypoint(checkpointer=saver)
        def fail(n: int, *, previous: Any = None) -> int:
            if n:
                raise Boom(n)
            return 7

        fail.invoke(0, CONFIG)
        with pytest.raises(Boom):
            fail.invoke(1, CONFIG)
        state = do(fail, "get_state", CONFIG)
        assert (state.values, state.next) == (7, ("fail",))
        (work,) = state.tasks
        assert (work.name, work.interrupts) == ("fail", ())
        assert isinstance(work.error, Boom)
        assert work.error.args == (1,)

    def test_of_a_run_that_asked(self, ask: Workflow[str, Any], do: Any) -> None:
        question = do(ask, "invoke", "x", CONFIG)["__interrupt__"][0]
        state = do(ask, "get_state", CONFIG)
        assert (state.values, state.next) == ({}, ("ask",))
        assert [(q.value, q.id) for q in state.interrupts] == [({"sure": "x"}, question.id)]
        assert state.tasks[0].interrupts == state.interrupts
        assert state.tasks[0].error is None
        do(ask, "invoke", Command(resume="yes"), CONFIG)
        after = do(ask, "get_state", CONFIG)
        assert (after.values, after.next, after.interrupts) == (["X", "yes"], (), ())

    def test_of_a_run_under_way(self, saver: BaseCheckpointer) -> None:
        states: list[Any] = []

        @task
        def look() -> None:
            thread = threading.Thread(target=lambda: states.append(flow.get_state(CONFIG)))
            thread.start()
            thread.join()

        @entrypoint(checkpointer=saver)
        def flow(_: str) -> str:
            look().result()
            return "end"

        flow.invoke("", CONFIG)
        assert (states[0].values, states[0].next, states[0].metadata["status"]) == ({}, ("flow",), "running")

    def test_of_a_stopped_run(self, saver: BaseCheckpointer, do: Any) -> None:
        @entrypoint(checkpointer=saver)
        def stop(_: str) -> str:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stop.invoke("", CONFIG)
        state = do(stop, "get_state", CONFIG)
        assert (state.next, state.metadata["status"], state.tasks[0].error) == (("stop",), "stopped", None)

    def test_of_a_cancelled_run(self, ask: Workflow[str, Any], do: Any) -> None:
        ask.invoke("x", CONFIG)
        do(ask, "cancel", CONFIG)
        state = do(ask, "get_state", CONFIG)
        assert (state.values, state.next, state.interrupts) == ({}, (), ())
        assert state.metadata["status"] == "cancelled"
        with pytest.raises(EmptyInputError, match="cancelled"):
            do(ask, "invoke", None, CONFIG)
        with pytest.raises(EmptyInputError, match="nothing to cancel"):
            do(ask, "cancel", CONFIG)
        assert do(ask, "invoke", "y", CONFIG)["__interrupt__"][0].value == {"sure": "y"}

    def test_of_an_abandoned_run(self, ask: Workflow[str, Any], do: Any) -> None:
        ask.invoke("x", CONFIG)
        ask.invoke("y", CONFIG)
        latest, abandoned = do(ask, "runs", "t")
        assert (latest.status, abandoned.status) == ("asked", "abandoned")
        state = do(ask, "get_state", abandoned.config)
        assert [question.value for question in state.interrupts] == [{"sure": "x"}]
        assert do(ask, "get_state", CONFIG).interrupts[0].value == {"sure": "y"}

    def test_metadata_of_the_caller(self, total: Workflow[int, int], do: Any) -> None:
        total.invoke(1, {**CONFIG, "metadata": {"desk": "a"}, "tags": ["x"]})
        metadata = do(total, "get_state", CONFIG).metadata
        assert metadata["desk"] == "a"
        assert metadata["workflow"] == "total"

    def test_threads_may_be_named_by_a_uuid(self, total: Workflow[int, int], do: Any) -> None:
        name: UUID = uuid4()
        total.invoke(4, thread_id=name)
        assert do(total, "get_state", thread_id=str(name)).values == 4

    def test_it_needs_a_thread_and_a_checkpointer(self, total: Workflow[int, int], do: Any) -> None:
        with pytest.raises(ConfigError, match="name the thread"):
            do(total, "get_state")

        @entrypoint()
        def forgetful(x: int) -> int:
            return x

        with pytest.raises(ConfigError, match="stores nothing"):
            do(forgetful, "get_state", CONFIG)

    def test_a_checkpoint_of_another_thread_is_none(self, total: Workflow[int, int], do: Any) -> None:
        total.invoke(1, thread_id="a")
        total.invoke(1, thread_id="b")
        checkpoint = total.get_state(thread_id="a").config["configurable"]["checkpoint_id"]
        wrong = {"configurable": {"thread_id": "b", "checkpoint_id": checkpoint}}
        for method, args in (("get_state", ()), ("update_state", (5,)), ("get_state_history", ())):
            config = wrong if method != "get_state_history" else {"configurable": {"thread_id": "b"}}
            more = {"before": wrong} if method == "get_state_history" else {}
            with pytest.raises(ConfigError, match="no checkpoint"):
                do(total, method, config, *args, **more)
        with pytest.raises(ConfigError, match="no address"):
            do(total, "get_state", {"configurable": {"thread_id": "b", "checkpoint_id": "nonsense"}})


class TestHistory:
    def test_steps_and_sources(self, total: Workflow[int, int], do: Any) -> None:
        total.invoke(1, CONFIG)
        total.invoke(2, CONFIG)
        total.update_state(CONFIG, 10)
        total.invoke(3, CONFIG)
        history = do(total, "get_state_history", CONFIG)
        assert seen(history) == [
            (13, (), "loop", 5),
            (10, ("total",), "input", 4),
            (10, (), "update", 3),
            (3, (), "loop", 2),
            (1, ("total",), "input", 1),
            (1, (), "loop", 0),
            ({}, ("total",), "input", -1),
        ]
        parents = [snapshot.parent_config for snapshot in history]
        configs = [snapshot.config for snapshot in history]
        assert parents == [*configs[1:], None]

    def test_each_moment_can_be_addressed(self, total: Workflow[int, int], do: Any) -> None:
        for amount in range(3):
            total.invoke(amount, CONFIG)
        for snapshot in do(total, "get_state_history", CONFIG):
            assert do(total, "get_state", snapshot.config) == snapshot

    def test_filter_before_and_limit(self, total: Workflow[int, int], do: Any) -> None:
        for amount in (1, 2, 3):
            total.invoke(amount, {**CONFIG, "metadata": {"n": amount, "tags": ["a"]}})
        history = do(total, "get_state_history", CONFIG)
        assert do(total, "get_state_history", CONFIG, limit=2) == history[:2]
        assert do(total, "get_state_history", CONFIG, limit=0) == []
        for index, moment in enumerate(history):
            assert do(total, "get_state_history", CONFIG, before=moment.config) == history[index + 1 :]
        ends = [moment for moment in history if moment.metadata["source"] == "loop"]
        assert do(total, "get_state_history", CONFIG, filter={"source": "loop"}) == ends
        assert do(total, "get_state_history", CONFIG, filter={"source": "loop"}, limit=2) == ends[:2]
        both = do(total, "get_state_history", CONFIG, filter={"n": 2, "tags": ["a"]}, before=history[0].config)
        assert [moment.metadata["step"] for moment in both] == [2, 1]
        assert do(total, "get_state_history", CONFIG, filter={"n": 4}) == []

    def test_longer_than_a_page(self, total: Workflow[int, int], do: Any) -> None:
        for _ in range(120):
            total.update_state(CONFIG, 1)
        total.invoke(1, CONFIG)
        history = do(total, "get_state_history", CONFIG)
        assert len(history) == 122
        assert len({moment.config["configurable"]["checkpoint_id"] for moment in history}) == 122
        assert do(total, "get_state_history", CONFIG, limit=60, before=history[30].config) == history[31:91]

    def test_the_order_is_that_of_the_runs_and_not_of_their_names(self, do: Any) -> None:
        """A run is named when it is asked for, and may have to wait before it begins."""
        saver = InMemorySaver()

        @entrypoint(checkpointer=saver)
        def flow(_: int) -> None:
            return None

        for amount in (1, 2, 3):
            flow.invoke(amount, CONFIG)
        rows = saver._tables.runs_by_no
        (a, first), (b, second) = sorted(rows.items())[:2]
        rows[a], rows[b] = replace(first, run_id=second.run_id), replace(second, run_id=first.run_id)
        saver._tables.run_numbers = {row.run_id: no for no, row in rows.items()}
        third = do(flow, "runs", "t")[0]
        found = do(flow, "get_state_history", CONFIG, before=third.config)
        assert [moment.metadata["step"] for moment in found] == [2, 1, 0, -1]


class TestUpdates:
    def test_value_and_previous(self, total: Workflow[int, int], do: Any) -> None:
        total.invoke(1, CONFIG)
        config = do(total, "update_state", CONFIG, 10)
        state = do(total, "get_state", CONFIG)
        assert (state.values, state.config) == (10, config)
        assert state.metadata["source"] == "update"
        assert total.invoke(5, CONFIG) == 15

    def test_value_and_previous_apart(self, total: Workflow[int, int], do: Any) -> None:
        do(total, "update_state", CONFIG, entrypoint.final(value="shown", save=40))
        assert do(total, "get_state", CONFIG).values == "shown"
        assert total.invoke(2, CONFIG) == 42

    def test_a_thread_that_never_ran(self, total: Workflow[int, int], do: Any) -> None:
        do(total, "update_state", CONFIG, 100)
        state = do(total, "get_state", CONFIG)
        assert (state.values, state.next, state.parent_config, state.metadata["step"]) == (100, (), None, 0)
        assert total.invoke(1, CONFIG) == 101

    def test_none_is_a_value(self, total: Workflow[int, int], do: Any) -> None:
        total.invoke(5, CONFIG)
        do(total, "update_state", CONFIG, None)
        assert do(total, "get_state", CONFIG).values is None
        assert total.invoke(1, CONFIG) == 1

    def test_an_open_question_stays_open(self, ask: Workflow[str, Any], do: Any) -> None:
        ask.invoke("x", CONFIG)
        before = do(ask, "get_state", CONFIG)
        do(ask, "update_state", CONFIG, "changed")
        do(ask, "update_state", before.config, "changed again")
        state = do(ask, "get_state", CONFIG)
        assert state.interrupts == before.interrupts
        assert state.values == "changed again"
        assert do(ask, "invoke", Command(resume="ok"), CONFIG) == ["X", "ok"]
        assert do(ask, "get_state", CONFIG).values == ["X", "ok"]

    def test_at_a_moment_of_the_past_a_branch_begins(self, total: Workflow[int, int], do: Any) -> None:
        for amount in (1, 10, 100):
            total.invoke(amount, CONFIG)
        first_end = next(m for m in total.get_state_history(CONFIG) if m.values == 1 and not m.next)
        config = do(total, "update_state", first_end.config, 5)
        assert do(total, "get_state", config).parent_config == first_end.config
        assert do(total, "get_state", CONFIG).values == 5
        assert total.invoke(2, CONFIG) == 7

    def test_at_a_moment_of_the_past_an_open_run_is_left_behind(self, ask: Workflow[str, Any], do: Any) -> None:
        ask.invoke("x", CONFIG)
        ask.invoke(Command(resume=1), CONFIG)
        end = ask.get_state(CONFIG)
        ask.invoke("y", CONFIG)
        do(ask, "update_state", end.parent_config, "branch")
        assert [run.status for run in do(ask, "runs", "t")] == ["done", "abandoned", "done"]
        assert do(ask, "get_state", CONFIG).interrupts == ()

    def test_several(self, total: Workflow[int, int], do: Any) -> None:
        total.invoke(1, CONFIG)
        steps = [[StateUpdate(2), StateUpdate(3, "total")], [StateUpdate(4)]]
        config = do(total, "bulk_update_state", CONFIG, steps)
        history = do(total, "get_state_history", CONFIG)
        assert [moment.values for moment in history[:4]] == [4, 3, 2, 1]
        assert [moment.metadata["step"] for moment in history[:4]] == [3, 2, 1, 0]
        assert history[0].config == config
        for later, earlier in pairwise(history[:4]):
            assert later.parent_config == earlier.config
        with pytest.raises(ConfigError, match="no updates"):
            do(total, "bulk_update_state", CONFIG, [])

    def test_several_leave_a_question_open(self, ask: Workflow[str, Any], do: Any) -> None:
        ask.invoke("x", CONFIG)
        do(ask, "bulk_update_state", CONFIG, [[StateUpdate(1), StateUpdate(2)]])
        state = do(ask, "get_state", CONFIG)
        assert (state.values, len(state.interrupts)) == (2, 1)

    def test_not_while_a_run_is_under_way(self, saver: BaseCheckpointer) -> None:
        errors: list[Any] = []

        def update() -> None:
            try:
                flow.update_state(CONFIG, 1)
            except ThreadBusy as error:
                errors.append(error)

        @entrypoint(checkpointer=saver)
        def flow(_: str) -> str:
            thread = threading.Thread(target=update)
            thread.start()
            thread.join()
            return "end"

        assert flow.invoke("", CONFIG) == "end"
        assert "flow" in str(errors[0])
        assert flow.get_state(CONFIG).values == "end"


class TestRunsAndCalls:
    def test_everything_that_was_recorded(self, saver: BaseCheckpointer, do: Any) -> None:
        @task
        def inner(x: int) -> int:
            return x + 1

        @task
        def outer(x: int) -> int:
            return inner(x).result() * 2

        @task(retry_policy=None)
        def fail() -> None:
            raise Boom("no")

        @entrypoint(checkpointer=saver)
        def flow(x: int) -> Any:
            try:
                fail().result()
            except Boom:
                pass
            return [outer(x).result(), interrupt("sure?")]

        flow.invoke(1, CONFIG)
        (run,) = do(flow, "runs", "t")
        assert (run.status, run.attempts, run.source, run.workflow) == ("asked", 1, "input", "flow")
        calls = run.calls()
        assert [(c.scope, c.name, c.status, c.value) for c in calls] == [
            ("", "fail", "raised", None),
            ("outer.0", "inner", "returned", 2),
            ("", "outer", "returned", 4),
            ("", "interrupt", "asked", "sure?"),
        ]
        assert isinstance(calls[0].error, Boom)
        assert calls[0].error.args == ("no",)
        assert all(c.attempts == 1 and c.started_at > 0 and c.seconds >= 0 and not c.cached for c in calls)
        assert do(flow, "get_state", CONFIG).interrupts[0].id == calls[3].id

        flow.invoke(Command(resume=True), CONFIG)
        (run,) = do(flow, "runs", "t")
        assert (run.status, run.attempts) == ("done", 2)
        assert [(c.status, c.value) for c in run.calls() if c.name == "interrupt"][-1] == ("answered", True)
        assert run.created_at <= run.updated_at

    def test_latest_first_and_limited(self, total: Workflow[int, int], do: Any) -> None:
        for amount in range(5):
            total.invoke(amount, CONFIG)
        runs = do(total, "runs", "t", limit=3)
        assert [do(total, "get_state", {**run.config}).next for run in runs] == [("total",)] * 3
        assert [run.run_id for run in runs] == sorted((run.run_id for run in runs), reverse=True)
        assert len(do(total, "runs", "t")) == 5


class TestListingThreads:
    def test_by_status(self, ask: Workflow[str, Any], do: Any) -> None:
        for name in ("a", "b", "c", "d"):
            ask.invoke(name, thread_id=name)
        ask.invoke(Command(resume=1), thread_id="b")
        ask.cancel(thread_id="c")
        ask.invoke("again", thread_id="a")
        assert [(t.thread_id, t.status) for t in do(ask, "threads")] == [
            ("a", "asked"),
            ("d", "asked"),
            ("c", "cancelled"),
            ("b", "done"),
        ]
        for status, expected in (("asked", ["a", "d"]), ("done", ["b"]), ("cancelled", ["c"]), ("running", [])):
            assert [t.thread_id for t in do(ask, "threads", status=status)] == expected
        assert [t.thread_id for t in do(ask, "threads", limit=1)] == ["a"]
        assert do(ask, "threads", limit=0) == []
        with pytest.raises(ConfigError, match="unknown status"):
            do(ask, "threads", status="dreaming")

    def test_running_ones(self, saver: BaseCheckpointer) -> None:
        found: list[Any] = []

        @entrypoint(checkpointer=saver)
        def flow(_: str) -> None:
            thread = threading.Thread(target=lambda: found.extend(flow.threads(status="running")))
            thread.start()
            thread.join()

        flow.invoke("", CONFIG)
        assert [(t.thread_id, t.status, t.attempts) for t in found] == [("t", "running", 1)]

    def test_by_metadata(self, ask: Workflow[str, Any], do: Any) -> None:
        for name, metadata in (("a", {"desk": "x", "urgent": True}), ("b", {"desk": "x"}), ("c", {})):
            ask.invoke(name, {"configurable": {"thread_id": name}, "metadata": metadata, "tags": [name]})
        assert [t.thread_id for t in do(ask, "threads", metadata={"desk": "x"})] == ["b", "a"]
        assert [t.thread_id for t in do(ask, "threads", metadata={"desk": "x", "urgent": True})] == ["a"]
        assert [t.thread_id for t in do(ask, "threads", metadata={"desk": "x"}, limit=1)] == ["b"]
        (found,) = do(ask, "threads", status="asked", metadata={"urgent": True})
        assert (found.metadata, found.tags) == ({"desk": "x", "urgent": True}, ["a"])
        assert do(ask, "get_state", found.config).interrupts

    def test_by_time(self, ask: Workflow[str, Any], do: Any) -> None:
        ask.invoke("a", thread_id="a")
        between = time.time()
        while time.time() == between:
            pass
        ask.invoke("b", thread_id="b")
        for moment in (between, datetime.fromtimestamp(between, UTC)):
            assert [t.thread_id for t in do(ask, "threads", since=moment)] == ["b"]
            assert [t.thread_id for t in do(ask, "threads", until=moment)] == ["a"]
            assert do(ask, "threads", since=moment, until=moment) == []
        with pytest.raises(ConfigError, match="since"):
            do(ask, "threads", since="yesterday")

    def test_of_this_workflow_only(
        self, ask: Workflow[str, Any], total: Workflow[int, int], saver: BaseCheckpointer, do: Any
    ) -> None:
        ask.invoke("a", thread_id="a")
        total.invoke(1, thread_id="b")
        assert [t.thread_id for t in do(total, "threads")] == ["b"]
        assert [t.thread_id for t in do(ask, "threads")] == ["a"]

    def test_more_than_a_page(self, total: Workflow[int, int], do: Any) -> None:
        for number in range(230):
            total.update_state({"configurable": {"thread_id": f"{number:03}"}}, number)
        assert [t.thread_id for t in do(total, "threads")] == [f"{n:03}" for n in reversed(range(230))]
        assert len(do(total, "threads", limit=150)) == 150
