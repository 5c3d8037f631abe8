"""Following a run from what is stored: replayed, live, in this process or from another one, by any number of readers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from worker import LONG, wait_for

from conftest import Do
from durably import Command, Workflow, entrypoint, get_stream_writer, interrupt, task, wait
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.memory import InMemorySaver
from durably.checkpoint.sqlite import SqliteSaver
from durably.engine.commit import Committer
from durably.engine.events import Told, Wanted
from durably.engine.journal import BEGAN, Record
from durably.errors import (
    ConfigError,
    EmptyInputError,
    EncodeError,
    NodeCancelledError,
    Superseded,
    WorkflowMismatch,
)
from durably.serde import EncryptedSerializer, TypedSerializer
from durably.types import RetryPolicy, StreamEvent, StreamWriter

ALL = ["updates", "values", "tasks", "custom", "messages"]
NEVER = 3600.0  # seconds between two looks, for those who must not need them


@task
def double(x: int, *, writer: StreamWriter) -> int:
    writer(f"doubling {x}")
    return 2 * x


@task
async def adouble(x: int, *, writer: StreamWriter) -> int:
    writer(f"doubling {x}")
    return 2 * x


@entrypoint()
def inner(x: int) -> int:
    return adouble(double(x).result()).result()


def new_flow(saver: BaseCheckpointer, colour: str = "sync", **how: Any) -> Workflow[Any, Any]:
    if colour == "sync":

        @entrypoint(checkpointer=saver, name="flow", **how)
        def sync_flow(ask: bool) -> Any:
            get_stream_writer()("begin")
            wait([double(1)]).result()
            return inner.invoke(10), interrupt("more?") if ask else None

        return sync_flow

    @entrypoint(checkpointer=saver, name="flow", **how)
    async def async_flow(ask: bool) -> Any:
        get_stream_writer()("begin")
        await wait([double(1)])
        return await inner.ainvoke(10), interrupt("more?") if ask else None

    return async_flow


def told(events: list[StreamEvent]) -> list[Any]:
    return [(event.type, event.data) for event in events]


def ids(events: list[StreamEvent]) -> list[str]:
    return [event.id for event in events]


@contextmanager
def running(call: Callable[[], Any]) -> Iterator[SimpleQueue[Any]]:
    """Run something on a thread for the length of a block; what it returned or raised comes in the queue."""
    outcome: SimpleQueue[Any] = SimpleQueue()

    def work() -> None:
        try:
            outcome.put(call())
        except BaseException as error:
            outcome.put(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield outcome
    thread.join(LONG)
    assert not thread.is_alive()


class TestOver:
    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_the_events_are_the_chunks_of_the_run(self, saver: BaseCheckpointer, do: Do, colour: str) -> None:
        flow = new_flow(saver, colour)
        modes = ["updates", "custom", "values", "tasks"]
        chunks = list(flow.stream(False, stream_mode=modes, subgraphs=True, thread_id="1", durable_stream=True))
        live = [
            chunk for chunk in chunks if not (isinstance(chunk[2], dict) and "triggers" in chunk[2])
        ]  # the starts of calls are not recorded
        events = do(flow, "join_stream", thread_id="1", stream_mode=modes, subgraphs=True)
        assert [(event.ns, event.type, event.data) for event in events] == live
        assert {(event.run_id, event.attempt) for event in events} == {(flow.runs(thread_id="1")[0].run_id, 1)}

    @pytest.mark.once("counts chunks")
    def test_without_subgraphs_only_its_own_calls(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver)
        flow.invoke(False, thread_id="1", durable_stream=True)
        events = do(flow, "join_stream", thread_id="1", stream_mode=["updates", "custom"])
        assert told(events) == [
            ("custom", "begin"),
            ("custom", "doubling 1"),
            ("updates", {"double": 2}),
            ("custom", "doubling 10"),
            ("custom", "doubling 20"),
            ("updates", {"inner": 40}),
            ("updates", {"flow": (40, None)}),
        ]
        assert told(do(flow, "join_stream", thread_id="1")) == [
            entry for entry in told(events) if entry[0] == "updates"
        ]

    def test_one_can_go_on_after_any_event(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver)
        flow.invoke(True, thread_id="1", durable_stream=True)
        flow.invoke(Command(resume=1), thread_id="1")
        how: Any = {"thread_id": "1", "stream_mode": ALL, "subgraphs": True}
        events = do(flow, "join_stream", **how)
        assert len(events) > 20
        for number, event in enumerate(events, 1):
            assert do(flow, "join_stream", after=event.id, **how) == events[number:]

    def test_ids_and_numbers_grow(self, saver: BaseCheckpointer) -> None:
        flow = new_flow(saver)
        flow.invoke(True, thread_id="1", durable_stream=True)
        flow.invoke(Command(resume=1), thread_id="1")
        events = list(flow.join_stream(thread_id="1", stream_mode=ALL, subgraphs=True))
        assert ids(events) == sorted(set(ids(events)))
        numbers = [event.sequence for event in events]
        assert numbers == sorted(set(numbers))
        assert all("\n" not in name and name.isascii() for name in ids(events))

    def test_a_further_attempt_is_marked(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver, durable_stream=True)
        flow.invoke(True, thread_id="1")
        first = do(flow, "join_stream", thread_id="1", stream_mode=["custom", "updates"])
        (question,) = flow.get_state(thread_id="1").interrupts
        assert told(first)[-1] == ("updates", {"__interrupt__": (question,)})
        flow.invoke(Command(resume=1), thread_id="1")
        events = do(flow, "join_stream", thread_id="1", stream_mode=["custom", "updates"])
        assert events[: len(first)] == first
        assert [(event.attempt, event.type, event.data) for event in events[len(first) :]] == [
            (2, "attempt", {"attempt": 2, "after": "asked"}),
            (2, "custom", "begin"),
            (2, "updates", {"flow": (40, 1)}),
        ]

    def test_several_questions_answered_one_by_one(self, saver: BaseCheckpointer) -> None:
        @task
        def ask(word: str) -> Any:
            return interrupt(word)

        @entrypoint(checkpointer=saver)
        def flow(_: int) -> Any:
            futures = [ask("a"), ask("b")]
            return [future.result() for future in futures]

        def asked(event: StreamEvent) -> list[str]:
            return sorted(question.value for question in event.data["__interrupt__"])

        flow.invoke(0, thread_id="1")
        one, two = sorted(flow.get_state(thread_id="1").interrupts, key=lambda question: question.value)
        flow.invoke(Command(resume={one.id: 1}), thread_id="1")
        before = list(flow.join_stream(thread_id="1"))
        flow.invoke(Command(resume={two.id: 2}), thread_id="1")
        events = list(flow.join_stream(thread_id="1"))
        assert events[: len(before)] == before
        assert [event.type for event in events] == ["updates", "attempt", "updates", "updates", "attempt"] + [
            "updates"
        ] * 2
        assert (asked(events[0]), asked(events[3])) == (["a", "b"], ["b"])
        assert told(events)[-1] == ("updates", {"flow": [1, 2]})

    def test_failures(self, saver: BaseCheckpointer, do: Do) -> None:
        broken = [True]

        @task
        def fragile(x: int) -> int:
            if broken:
                raise ValueError(f"no {x}")
            return x

        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            return fragile(double(x).result()).result()

        with pytest.raises(ValueError, match="no 2"):
            flow.invoke(1, thread_id="1")
        seen = []
        with pytest.raises(ValueError, match="no 2"):
            for event in flow.join_stream(thread_id="1", stream_mode=["updates", "tasks"]):
                seen.append(event)  # noqa: PERF402
        assert [(event.type, event.data.get("name")) for event in seen] == [
            ("updates", None), ("tasks", "double"), ("tasks", "fragile"), ("tasks", "flow"),
        ]  # fmt: skip
        assert str(seen[2].data["error"]) == str(seen[3].data["error"]) == "no 2"
        broken.clear()
        assert flow.invoke(None, thread_id="1") == 2
        rest = do(flow, "join_stream", thread_id="1", after=seen[-1].id)
        assert told(rest) == [
            ("attempt", {"attempt": 2, "after": "failed"}),
            ("updates", {"fragile": 2}),
            ("updates", {"flow": 2}),
        ]

    def test_the_run_that_a_checkpoint_names(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver)
        flow.invoke(False, thread_id="1")
        first = flow.get_state(thread_id="1").config
        flow.invoke(True, thread_id="1")
        assert told(do(flow, "join_stream", first))[-1] == ("updates", {"flow": (40, None)})
        assert "__interrupt__" in told(do(flow, "join_stream", thread_id="1"))[-1][1]
        event = do(flow, "join_stream", first)[0]
        assert told(do(flow, "join_stream", thread_id="1", after=event.id))[-1] == ("updates", {"flow": (40, None)})

    def test_forks_and_copies_have_events_of_their_own(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver, durable_stream=True)
        flow.invoke(False, thread_id="1")
        events = do(flow, "join_stream", thread_id="1", stream_mode=ALL, subgraphs=True)
        flow.fork(thread_id="1")
        forked = do(flow, "join_stream", thread_id="1", stream_mode="updates")
        assert told(forked) == [
            ("updates", {"double": 2}),
            ("updates", {"inner": 40}),
            ("updates", {"flow": (40, None)}),
        ]
        assert not set(ids(forked)) & set(ids(events))
        saver.copy_thread("1", "2")
        original = flow.runs(thread_id="2")[1].config
        copied = do(flow, "join_stream", original, stream_mode=ALL, subgraphs=True)
        assert [(len(event.ns), event.type) for event in copied] == [(len(event.ns), event.type) for event in events]
        inside = next(event for event in copied if event.ns)
        call = next(call for call in flow.runs(thread_id="2")[1].calls() if call.name == "inner")
        assert inside.ns == (f"inner:{call.id}",)

    def test_encrypted(self, do: Do) -> None:
        saver = InMemorySaver(serde=EncryptedSerializer(keys=bytes(32)))
        flow = new_flow(saver, durable_stream=True)
        flow.invoke(True, thread_id="1")
        flow.invoke(Command(resume=1), thread_id="1")
        assert told(do(flow, "join_stream", thread_id="1", stream_mode=ALL))[0] == ("custom", "begin")
        saver.copy_thread("1", "2")
        assert told(do(flow, "join_stream", thread_id="2", stream_mode=ALL))[0] == ("custom", "begin")

    def test_a_nested_workflow_that_saves(self, saver: BaseCheckpointer, do: Do) -> None:
        @entrypoint(checkpointer=True)
        def counter(_: int, *, previous: int = 0) -> entrypoint.final[str, int]:
            return entrypoint.final(value=f"call {previous + 1}", save=previous + 1)

        @entrypoint(checkpointer=saver)
        def flow(_: int) -> str:
            return counter.invoke(0)

        flow.invoke(0, thread_id="1")
        assert told(do(flow, "join_stream", thread_id="1")) == [
            ("updates", {"counter": "call 1"}),
            ("updates", {"flow": "call 1"}),
        ]
        assert [call.value for call in flow.runs(thread_id="1")[0].calls()] == ["call 1"]

    def test_a_body_that_says_its_values(self, saver: BaseCheckpointer, do: Do) -> None:
        @entrypoint(checkpointer=saver, durable_stream=True)
        def flow(n: int) -> int:
            for i in range(n):
                get_stream_writer("values")(i)
            return n - 1

        flow.invoke(3, thread_id="1")
        assert told(do(flow, "join_stream", thread_id="1", stream_mode=["values", "updates"])) == [
            ("values", 0), ("values", 1), ("values", 2),
        ]  # fmt: skip


class TestLive:
    """None of these needs to look again: what this process writes, it rings for."""

    @pytest.mark.parametrize("durability", ["async", "sync"])
    def test_chunks_come_while_the_task_still_runs(self, saver: BaseCheckpointer, durability: str) -> None:
        read = threading.Event()

        @task
        def slow(*, writer: StreamWriter) -> str:
            writer("begun")
            assert read.wait(LONG)
            return "ended"

        @entrypoint(checkpointer=saver, durable_stream=True)
        def flow(_: int) -> str:
            first = double(1).result()
            return f"{first} {slow().result()}"

        with running(lambda: flow.invoke(0, thread_id="1", durability=durability)) as outcome:
            wait_for(lambda: flow.get_state(thread_id="1").next)
            events = flow.join_stream(thread_id="1", stream_mode=["custom", "updates"], poll_interval=NEVER)
            assert [next(events).data for _ in range(3)] == ["doubling 1", {"double": 2}, "begun"]
            read.set()
            assert [event.data for event in events] == [{"slow": "ended"}, {"flow": "2 ended"}]
        assert outcome.get() == "2 ended"

    def test_on_one_event_loop(self, saver: BaseCheckpointer) -> None:
        async def main() -> list[Any]:
            read = asyncio.Event()

            @task
            async def slow(*, writer: StreamWriter) -> str:
                writer("begun")
                await read.wait()
                return "ended"

            @entrypoint(checkpointer=saver, durable_stream=True)
            async def flow(_: int) -> str:
                return await slow()

            run = flow.astream(0, thread_id="1", stream_mode="checkpoints")
            config = (await anext(run))["config"]

            async def follow() -> list[Any]:
                seen = []
                async for event in flow.ajoin_stream(config, stream_mode=["custom", "updates"], poll_interval=NEVER):
                    seen.append(event.data)
                    read.set()
                return seen

            one, two, *_ = await asyncio.gather(follow(), follow(), anext(run))
            await run.aclose()
            assert one == two
            return one

        assert asyncio.run(main()) == ["begun", {"slow": "ended"}, {"flow": "ended"}]

    def test_readers_may_leave(self, saver: BaseCheckpointer) -> None:
        gate = threading.Event()

        @task
        def held() -> str:
            assert gate.wait(LONG)
            return "done"

        @entrypoint(checkpointer=saver)
        def flow(_: int) -> str:
            double(1).result()
            return held().result()

        with running(lambda: flow.invoke(0, thread_id="1")) as outcome:
            wait_for(lambda: flow.get_state(thread_id="1").next)
            first, second = (flow.join_stream(thread_id="1", poll_interval=NEVER) for _ in range(2))
            assert next(first) == next(second)
            first.close()
            gate.set()
            assert [event.data for event in second] == [{"held": "done"}, {"flow": "done"}]
        assert outcome.get() == "done"
        assert not Committer.of(saver).bells._bells

    def test_a_cancelled_reader_leaves(self, saver: BaseCheckpointer) -> None:
        async def main() -> None:
            gate = asyncio.Event()

            @task
            async def held() -> str:
                await gate.wait()
                return "done"

            @entrypoint(checkpointer=saver)
            async def flow(_: int) -> str:
                return await held()

            async def follow() -> None:
                async for _ in flow.ajoin_stream(thread_id="1", poll_interval=NEVER):
                    pass

            run = asyncio.create_task(flow.ainvoke(0, thread_id="1"))
            while not (await flow.aget_state(thread_id="1")).next:
                await asyncio.sleep(0.001)
            reader = asyncio.create_task(follow())
            while not Committer.of(saver).bells._bells:
                await asyncio.sleep(0.001)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            assert not Committer.of(saver).bells._bells
            gate.set()
            assert await run == "done"

        asyncio.run(main())

    def test_a_run_that_is_stopped_while_it_is_followed(self, saver: BaseCheckpointer) -> None:
        begun = threading.Event()

        @task
        async def forever() -> None:
            begun.set()
            await asyncio.Event().wait()

        @entrypoint(checkpointer=saver)
        async def flow(_: int) -> None:
            await double(1)
            await forever()

        chunks = flow.stream(0, thread_id="1")
        assert next(chunks) == {"double": 2}
        assert begun.wait(LONG)
        events = flow.join_stream(thread_id="1", poll_interval=NEVER)
        assert next(events).data == {"double": 2}
        chunks.close()
        with pytest.raises(NodeCancelledError, match=r"is stopped|was cancelled|left"):
            next(events)

    def test_a_run_that_is_deleted_while_it_is_followed(self, saver: BaseCheckpointer) -> None:
        flow = new_flow(saver)
        flow.invoke(True, thread_id="1")
        events = flow.join_stream(thread_id="1")
        next(events)
        saver.delete_thread("1")
        assert len(list(events)) == 2  # it had read to the end already
        with pytest.raises(EmptyInputError, match="'1' has never run"):
            list(flow.join_stream(thread_id="1"))


class TestStoring:
    def test_nothing_that_bodies_write_is_stored_by_default(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver)
        flow.invoke(False, thread_id="1")
        assert do(flow, "join_stream", thread_id="1", stream_mode="custom") == []

    def test_an_invocation_may_say_otherwise(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver, durable_stream=True)
        flow.invoke(False, thread_id="1", durable_stream=False)
        assert do(flow, "join_stream", thread_id="1", stream_mode="custom") == []

    def test_further_attempts_store_what_the_first_did(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver)
        flow.invoke(True, thread_id="1", durable_stream=True)
        flow.invoke(Command(resume=1), thread_id="1")
        events = do(flow, "join_stream", thread_id="1", stream_mode="custom")
        assert [event.data for event in events if event.attempt == 2] == [{"attempt": 2, "after": "asked"}, "begin"]

    @pytest.mark.parametrize("durability", ["async", "sync", "exit"])
    @pytest.mark.once("counts chunks")
    def test_each_durability(self, saver: BaseCheckpointer, do: Do, durability: str) -> None:
        flow = new_flow(saver, durable_stream=True)
        flow.invoke(False, thread_id="1", durability=durability)
        assert len(do(flow, "join_stream", thread_id="1", stream_mode="custom")) == 4

    def test_a_chunk_is_stored_as_it_was_when_written(self, saver: BaseCheckpointer, do: Do) -> None:
        @entrypoint(checkpointer=saver, durable_stream=True)
        def flow(_: int, *, writer: StreamWriter) -> None:
            chunk = [1]
            writer(chunk)
            chunk.append(2)

        flow.invoke(0, thread_id="1")
        assert told(do(flow, "join_stream", thread_id="1", stream_mode="custom")) == [("custom", [1])]

    def test_what_cannot_be_stored_is_refused_where_it_is_written(self, saver: BaseCheckpointer) -> None:
        @entrypoint(checkpointer=saver, durable_stream=True)
        def flow(_: int, *, writer: StreamWriter) -> None:
            writer({"lock": threading.Lock()})

        with pytest.raises(EncodeError, match="what workflow 'flow' wrote to the stream cannot be stored"):
            flow.invoke(0, thread_id="1")

    def test_a_retried_task_writes_again(self, saver: BaseCheckpointer, do: Do) -> None:
        tries: list[int] = []

        @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False, retry_on=ValueError))
        def flaky(*, writer: StreamWriter) -> int:
            tries.append(1)
            writer(len(tries))
            if len(tries) < 3:
                raise ValueError
            return 3

        @entrypoint(checkpointer=saver, durable_stream=True)
        def flow(_: int) -> int:
            return flaky().result()

        flow.invoke(0, thread_id="1")
        assert [event.data for event in do(flow, "join_stream", thread_id="1", stream_mode="custom")] == [1, 2, 3]

    def test_the_run_goes_on_as_if_it_were_not_stored(self, saver: BaseCheckpointer) -> None:
        ran: list[int] = []

        @task
        def once(x: int, *, writer: StreamWriter) -> int:
            ran.append(x)
            writer(x)
            return x

        @entrypoint(checkpointer=saver, durable_stream=True, replay="strict")
        def flow(_: int, *, writer: StreamWriter) -> Any:
            writer("top")
            return once(1).result(), interrupt("?"), once(2).result()

        flow.invoke(0, thread_id="1")
        assert flow.invoke(Command(resume="yes"), thread_id="1") == (1, "yes", 2)
        assert ran == [1, 2]
        assert [call.name for call in flow.runs(thread_id="1")[0].calls()] == [
            "once", "interrupt", "interrupt", "once",  # asked, and answered
        ]  # fmt: skip


def test_the_first_attempt_of_a_run_that_waited_is_not_marked() -> None:
    told = Told("r", "flow", TypedSerializer(), Wanted(frozenset(["updates"]), nested=False, after=0))
    assert list(told.record(Record(BEGAN, "", "pending", 1, b"", b""))) == []
    (event,) = told.record(Record(BEGAN, "", "sleeping", 2, b"", b""))
    assert (event.attempt, event.data) == (2, {"attempt": 2, "after": "sleeping"})


class TestRefusals:
    def test_at_once(self, saver: BaseCheckpointer) -> None:
        flow = new_flow(saver)
        for method in (flow.join_stream, flow.ajoin_stream):
            with pytest.raises(ConfigError, match="name the thread"):
                method()
            with pytest.raises(ConfigError, match="unknown stream mode 'bogus'"):
                method(thread_id="1", stream_mode="bogus")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            with pytest.raises(ConfigError, match=r"'debug' is not stored: give one of 'updates'"):
                method(thread_id="1", stream_mode=["updates", "debug"])
            for after in ("", "x", "x-", "-1", "x-1.5", "x-²", 3):
                with pytest.raises(ConfigError, match="no event's id"):
                    method(thread_id="1", after=after)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            for interval in (0, -1, "1", float("nan")):
                with pytest.raises(ConfigError, match="poll_interval"):
                    method(thread_id="1", poll_interval=interval)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def test_nothing_is_stored(self) -> None:
        @entrypoint()
        def flow(_: int) -> None: ...

        with pytest.raises(ConfigError, match="stores nothing"):
            flow.join_stream(thread_id="1")

    def test_there_is_no_such_run(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver)
        with pytest.raises(EmptyInputError, match="'1' has never run"):
            do(flow, "join_stream", thread_id="1")
        flow.invoke(False, thread_id="1")
        flow.invoke(False, thread_id="2")
        event = do(flow, "join_stream", thread_id="1")[0]
        with pytest.raises(ConfigError, match=f"thread '2' has no run {event.run_id}"):
            do(flow, "join_stream", thread_id="2", after=event.id)
        with pytest.raises(ConfigError, match="thread '1' has no run bogus"):
            do(flow, "join_stream", thread_id="1", after="bogus-1")
        with pytest.raises(ConfigError, match="after= is of run bogus"):
            do(flow, "join_stream", flow.get_state(thread_id="1").config, after="bogus-1")

    def test_pruned(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver)
        for _ in range(3):
            flow.invoke(False, thread_id="1")
        oldest = flow.runs(thread_id="1")[2]
        event = do(flow, "join_stream", oldest.config)[0]
        saver.prune("1", keep_last=1)
        with pytest.raises(ConfigError, match="it may have been pruned"):
            do(flow, "join_stream", thread_id="1", after=event.id)

    def test_another_workflow(self, saver: BaseCheckpointer, do: Do) -> None:
        new_flow(saver).invoke(False, thread_id="1")

        @entrypoint(checkpointer=saver)
        def other(_: int) -> None: ...

        with pytest.raises(WorkflowMismatch, match="belongs to workflow 'flow', and 'other'"):
            do(other, "join_stream", thread_id="1")

    def test_left_behind_and_cancelled(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = new_flow(saver)
        flow.invoke(True, thread_id="1")
        asked = flow.get_state(thread_id="1").config
        flow.invoke(True, thread_id="1")
        assert "__interrupt__" in told(do(flow, "join_stream", asked))[-1][1]  # it can still be answered
        flow.cancel(thread_id="1")
        with pytest.raises(NodeCancelledError, match="it is cancelled"):
            do(flow, "join_stream", thread_id="1")


# ------------------------------------------------------------------------------------------- other processes

PROGRAM = """
import os, sys, time
from pathlib import Path
from durably import entrypoint, task
from durably.checkpoint.sqlite import SqliteSaver

folder = Path(sys.argv[1])

@task
def work(n, writer):
    writer(f"at {n}")
    while not (folder / f"gate-{n}").exists():
        time.sleep(0.001)
    if (folder / "die").exists():
        os._exit(9)
    return n

@entrypoint(checkpointer=SqliteSaver(folder / "runs.db"), durable_stream=True)
def flow(count):
    return [work(n).result() for n in range(count)]

if __name__ == "__main__":
    if sys.argv[2] == "recover":
        print(flow.recover())
    else:
        flow.invoke(3, thread_id="1")
"""


class Elsewhere:
    """A run in another process, whose tasks wait for files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)
        self.saver = SqliteSaver(folder / "runs.db")

        @entrypoint(checkpointer=self.saver)
        def flow(count: int) -> list[int]:
            raise AssertionError("it runs elsewhere")

        self.flow = flow

    def start(self, what: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(self.program), str(self.folder), what])

    def open(self, gate: str) -> None:
        (self.folder / gate).touch()

    def join(self, **how: Any) -> Any:
        return self.flow.join_stream(thread_id="1", stream_mode=["custom", "updates"], poll_interval=0.002, **how)

    def wait_until_it_runs(self) -> None:
        wait_for(lambda: self.flow.get_state(thread_id="1").next)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    place = Elsewhere(tmp_path)
    with place.saver:
        yield place


def test_a_run_of_another_process_is_followed(elsewhere: Elsewhere) -> None:
    process = elsewhere.start("invoke")
    elsewhere.wait_until_it_runs()
    events = elsewhere.join()
    seen = [next(events)]
    for n in range(3):
        elsewhere.open(f"gate-{n}")
        seen += [next(events), next(events)]
    assert [event.data for event in seen] == [
        "at 0", {"work": 0}, "at 1", {"work": 1}, "at 2", {"work": 2}, {"flow": [0, 1, 2]},
    ]  # fmt: skip
    assert list(events) == []
    assert process.wait(LONG) == 0


def test_nothing_is_lost_when_the_process_dies_and_another_takes_over(elsewhere: Elsewhere) -> None:
    process = elsewhere.start("invoke")
    elsewhere.wait_until_it_runs()
    events = elsewhere.join()
    elsewhere.open("gate-0")
    seen = [next(events) for _ in range(3)]
    assert [event.data for event in seen] == ["at 0", {"work": 0}, "at 1"]
    elsewhere.open("die")
    elsewhere.open("gate-1")
    with pytest.raises(Superseded, match="the process that ran it is gone"):
        list(events)
    assert process.wait(LONG) == 9
    (elsewhere.folder / "die").unlink()
    elsewhere.open("gate-2")
    assert elsewhere.start("recover").wait(LONG) == 0
    rest = list(elsewhere.join(after=seen[-1].id))
    assert [(event.attempt, event.data) for event in rest] == [
        (2, {"attempt": 2, "after": "stopped"}),
        (2, "at 1"),
        (2, {"work": 1}),
        (2, "at 2"),
        (2, {"work": 2}),
        (2, {"flow": [0, 1, 2]}),
    ]
    assert list(elsewhere.join()) == seen + rest
