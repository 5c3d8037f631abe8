"""The modes in which the engine says what happens: tasks, checkpoints, debug; values on resume; who says values himself."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

import pytest

from durably import CachePolicy, Command, InMemorySaver, Workflow, entrypoint, get_stream_writer, interrupt, task
from durably.cache.memory import InMemoryCache
from durably.errors import ConfigError
from durably.types import RetryPolicy, StreamWriter


def stream(workflow: Workflow[Any, Any], value: Any, **how: Any) -> list[Any]:
    return list(workflow.stream(value, **how))


def astream(workflow: Workflow[Any, Any], value: Any, **how: Any) -> list[Any]:
    async def collect() -> list[Any]:
        return [chunk async for chunk in workflow.astream(value, **how)]

    return asyncio.run(collect())


both_ways = pytest.mark.parametrize("stream", [stream, astream])


@task
def double(x: int, *, plus: int = 0) -> int:
    return 2 * x + plus


@task
async def fail(x: int) -> int:
    raise ValueError(f"no {x}")


def new_asking() -> Workflow[Any, Any]:
    @entrypoint(checkpointer=InMemorySaver())
    def asking(x: int) -> Any:
        return double(double(x).result(), plus=1).result(), interrupt("more?")

    return asking


def without_ids(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in chunk.items() if name != "id"} for chunk in chunks]


def begun(name: str, input: Any, trigger: str = "__pregel_push") -> dict[str, Any]:
    return {"name": name, "input": input, "triggers": (trigger,)}


def over(name: str, error: Any = None, result: Any = None, interrupts: Any = None) -> dict[str, Any]:
    return {"name": name, "error": error, "result": result or {}, "interrupts": interrupts or []}


@both_ways
class TestTasks:
    @pytest.mark.once("counts chunks")
    def test_starts_and_ends_of_a_run_that_asks_and_is_resumed(self, stream: Any) -> None:
        workflow = new_asking()
        first = stream(workflow, 1, stream_mode="tasks", thread_id="1")
        question = workflow.get_state(thread_id="1").interrupts[0]
        assert without_ids(first) == [
            begun("asking", 1, "__start__"),
            begun("double", ((1,), {})),
            over("double", result={"__return__": 2}),
            begun("double", ((2,), {"plus": 1})),
            over("double", result={"__return__": 5}),
            over("asking", interrupts=[{"value": "more?", "id": question.id, "response_schema": None}]),
        ]
        second = stream(workflow, Command(resume="yes"), stream_mode="tasks", thread_id="1")
        assert without_ids(second) == [
            begun("asking", 1, "__start__"),
            begun("double", ((1,), {})),  # recorded: only their starts
            begun("double", ((2,), {"plus": 1})),
            over("asking", result={"__end__": (5, "yes")}),
        ]
        ids = [chunk["id"] for chunk in first]
        assert ids[1] == ids[2] != ids[3] == ids[4]
        assert ids[0] == ids[5]
        assert [chunk["id"] for chunk in second] == [ids[0], ids[1], ids[3], ids[0]]

    def test_failures(self, stream: Any) -> None:
        @entrypoint()
        async def workflow(_: None) -> None:
            try:
                await fail(1)
            except ValueError:
                await fail(2)

        async def collect() -> list[Any]:
            seen = []
            with pytest.raises(ValueError, match="no 2"):
                async for chunk in workflow.astream(None, stream_mode="tasks"):
                    seen.append(chunk)  # noqa: PERF401
            return seen

        def collect_sync() -> list[Any]:
            seen = []
            with pytest.raises(ValueError, match="no 2"):
                for chunk in workflow.stream(None, stream_mode="tasks"):
                    seen.append(chunk)  # noqa: PERF402
            return seen

        seen = collect_sync() if stream is globals()["stream"] else asyncio.run(collect())
        assert [(chunk["name"], str(chunk.get("error", "-"))) for chunk in seen] == [
            ("workflow", "-"), ("fail", "-"), ("fail", "no 1"), ("fail", "-"), ("fail", "no 2"), ("workflow", "no 2"),
        ]  # fmt: skip

    def test_a_retried_task_starts_once(self, stream: Any) -> None:
        tried: list[int] = []

        @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False, retry_on=ValueError))
        def flaky() -> int:
            tried.append(1)
            if len(tried) < 3:
                raise ValueError
            return 3

        @entrypoint()
        def workflow(_: None) -> int:
            return flaky().result()

        assert without_ids(stream(workflow, None, stream_mode="tasks"))[1:3] == [
            begun("flaky", ((), {})),
            over("flaky", result={"__return__": 3}),
        ]

    def test_a_cached_result_is_marked_among_the_updates(self, stream: Any) -> None:
        @task(cache_policy=CachePolicy())
        def slow(x: int) -> int:
            return x

        @entrypoint(cache=InMemoryCache())
        def workflow(x: int) -> int:
            return slow(x).result()

        assert stream(workflow, 1)[0] == {"slow": 1}
        chunks = stream(workflow, 1, stream_mode=["updates", "tasks"])
        assert ("updates", {"slow": 1, "__metadata__": {"cached": True}}) in chunks
        assert len([chunk for mode, chunk in chunks if mode == "tasks"]) == 4

    def test_waiting_for_several_is_no_task(self, stream: Any) -> None:
        from durably import wait

        @entrypoint()
        def workflow(_: None) -> int:
            done, _ = wait([double(1), double(2)]).result()
            return len(done)

        names = [chunk["name"] for chunk in stream(workflow, None, stream_mode="tasks")]
        assert sorted(names) == ["double", "double", "double", "double", "workflow", "workflow"]

    def test_a_nested_workflow_is_a_call_of_its_caller(self, stream: Any) -> None:
        @entrypoint()
        def inner(x: int) -> int:
            return double(x).result()

        @entrypoint()
        def outer(x: int) -> int:
            return inner.invoke(x)

        chunks = stream(outer, 1, stream_mode="tasks", subgraphs=True)
        assert [
            (len(ns), chunk) for (ns, _), chunk in zip(chunks, without_ids([c for _, c in chunks]), strict=True)
        ] == [
            (0, begun("outer", 1, "__start__")),
            (0, begun("inner", 1, "__start__")),
            (1, begun("double", ((1,), {}))),
            (1, over("double", result={"__return__": 2})),
            (0, over("inner", result={"__end__": 2})),
            (0, over("outer", result={"__end__": 2})),
        ]


@both_ways
class TestCheckpoints:
    def test_start_and_end(self, stream: Any) -> None:
        workflow = new_asking()
        (asked,) = stream(workflow, 1, stream_mode="checkpoints", thread_id="1")
        assert list(asked) == ["config", "parent_config", "values", "metadata", "next", "tasks"]
        assert asked["config"] == workflow.get_state(thread_id="1").config
        assert asked["next"] == ["asking"]
        assert asked["metadata"]["step"] == -1
        assert [(entry["name"], entry["interrupts"]) for entry in asked["tasks"]] == [("asking", ())]
        again, done = stream(workflow, Command(resume=0), stream_mode="checkpoints", thread_id="1")
        assert again["config"] == asked["config"] == done["parent_config"]
        assert done["config"] == workflow.get_state(thread_id="1").config
        assert (done["values"], done["next"], done["tasks"]) == ((5, 0), [], [])
        assert done["metadata"]["step"] == 0

    def test_nothing_is_stored_without_a_checkpointer(self, stream: Any) -> None:
        @entrypoint()
        def workflow(x: int) -> int:
            return x

        assert stream(workflow, 1, stream_mode="checkpoints") == []

    @pytest.mark.once("counts chunks")
    def test_debug_is_tasks_and_checkpoints(self, stream: Any) -> None:
        workflow = new_asking()
        before = time.time()
        chunks = stream(workflow, 1, stream_mode=["tasks", "debug"], thread_id="1")
        debug = [chunk for mode, chunk in chunks if mode == "debug"]
        assert [(chunk["step"], chunk["type"]) for chunk in debug] == [
            (-1, "checkpoint"), (0, "task"), (0, "task"), (0, "task_result"), (0, "task"), (0, "task_result"),
            (0, "task_result"),
        ]  # fmt: skip
        assert [chunk["payload"] for chunk in debug[1:]] == [chunk for mode, chunk in chunks if mode == "tasks"]
        assert all(datetime.fromisoformat(chunk["timestamp"]).timestamp() >= before - 1 for chunk in debug)
        resumed = stream(workflow, Command(resume=0), stream_mode="debug", thread_id="1")
        assert (resumed[-1]["step"], resumed[-1]["type"], resumed[-1]["payload"]["values"]) == (0, "checkpoint", (5, 0))
        steps = [chunk["step"] for chunk in stream(workflow, 1, stream_mode="debug", thread_id="1")]
        assert steps == [1, 2, 2, 2, 2, 2, 2]


@both_ways
class TestValues:
    def test_a_resumed_run_begins_with_the_value_before(self, stream: Any) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def workflow(ask: bool) -> entrypoint.final[Any, Any]:
            return entrypoint.final(value=interrupt("?") if ask else "first", save="saved")

        def values(value: Any) -> list[Any]:
            return stream(workflow, value, stream_mode="values", thread_id="1")  # type: ignore[no-any-return]

        assert values(False) == ["first"]
        assert list(values(True)[0]) == ["__interrupt__"]
        assert values(Command(resume="second")) == ["first", "second"]

    def test_a_body_that_says_its_values_is_not_repeated(self, stream: Any) -> None:
        @task
        def add(x: int) -> int:
            return x + 1

        @entrypoint()
        def count(n: int) -> int:
            say, x = get_stream_writer("values"), 0
            for _ in range(n):
                x = add(x).result()
                say(x)
            return x

        assert stream(count, 3, stream_mode=["values", "updates"]) == [
            entry for x in (1, 2, 3) for entry in (("updates", {"add": x}), ("values", x))
        ]

    def test_a_nested_body_that_says_its_values(self, stream: Any) -> None:
        @entrypoint()
        def inner(_: None) -> int:
            get_stream_writer("values")(1)
            return 1

        @entrypoint()
        def outer(_: None) -> int:
            return inner.invoke(None) + 1

        chunks = stream(outer, None, stream_mode=["values", "updates"], subgraphs=True)
        assert [(len(ns), mode, chunk) for ns, mode, chunk in chunks] == [
            (1, "values", 1), (0, "updates", {"inner": 1}), (0, "updates", {"outer": 2}), (0, "values", 2),
        ]  # fmt: skip


def invoke(workflow: Workflow[Any, Any], value: Any, **how: Any) -> Any:
    return workflow.invoke(value, **how)


def ainvoke(workflow: Workflow[Any, Any], value: Any, **how: Any) -> Any:
    return asyncio.run(workflow.ainvoke(value, **how))


@both_ways
class TestVersionTwo:
    def test_parts_say_mode_and_namespace(self, stream: Any) -> None:
        workflow = new_asking()
        modes = ["updates", "values", "tasks"]
        first = stream(workflow, 1, stream_mode=modes, version="v2", thread_id="1")
        questions = workflow.get_state(thread_id="1").interrupts
        assert [part for part in first if part["type"] != "tasks"] == [
            {"type": "updates", "ns": (), "data": {"double": 2}},
            {"type": "updates", "ns": (), "data": {"double": 5}},
            {"type": "updates", "ns": (), "data": {"__interrupt__": questions}},
            {"type": "values", "ns": (), "data": None, "interrupts": questions},
        ]
        assert all(list(part) == ["type", "ns", "data"] for part in first if part["type"] != "values")
        assert stream(workflow, Command(resume=0), stream_mode="values", version="v2", thread_id="1") == [
            {"type": "values", "ns": (), "data": None, "interrupts": ()},
            {"type": "values", "ns": (), "data": (5, 0), "interrupts": ()},
        ]

    def test_the_namespace_is_there_with_and_without_subgraphs(self, stream: Any) -> None:
        @entrypoint()
        def inner(x: int) -> int:
            get_stream_writer()("inside")
            return double(x).result()

        @entrypoint()
        def outer(x: int) -> int:
            return inner.invoke(x)

        def parts(**how: Any) -> list[Any]:
            chunks = stream(outer, 1, stream_mode=["updates", "custom"], version="v2", **how)
            return [(len(part["ns"]), part["data"]) for part in chunks]

        assert parts() == [(1, "inside"), (0, {"inner": 2}), (0, {"outer": 2})]
        assert parts(subgraphs=True) == [(1, "inside"), (1, {"double": 2}), (0, {"inner": 2}), (0, {"outer": 2})]

    def test_an_unknown_version_is_refused(self, stream: Any) -> None:
        with pytest.raises(ConfigError, match="unknown version 'v3'"):
            stream(new_asking(), 1, version="v3", thread_id="1")


@pytest.mark.parametrize("invoke", [invoke, ainvoke])
class TestInvoke:
    def test_values_are_what_it_returns_anyway(self, invoke: Any) -> None:
        workflow = new_asking()
        (question,) = invoke(workflow, 1, stream_mode="values", thread_id="1")["__interrupt__"]
        assert question.value == "more?"
        done = invoke(workflow, Command(resume=0), stream_mode="values", version="v2", thread_id="1")
        assert (done.value, done.interrupts) == ((5, 0), ())

    def test_other_modes_give_the_list_of_chunks(self, invoke: Any) -> None:
        workflow = new_asking()
        *updates, asked = invoke(workflow, 1, stream_mode="updates", thread_id="1")
        assert updates == [{"double": 2}, {"double": 5}]
        assert list(asked) == ["__interrupt__"]
        assert invoke(workflow, Command(resume=0), stream_mode=["values", "updates"], thread_id="1") == [
            ("values", None), ("updates", {"asking": (5, 0)}), ("values", (5, 0)),
        ]  # fmt: skip
        parts = invoke(workflow, 1, stream_mode="updates", version="v2", thread_id="2")
        assert parts[0] == {"type": "updates", "ns": (), "data": {"double": 2}}

    def test_errors_come_out(self, invoke: Any) -> None:
        @entrypoint()
        async def failing(x: int) -> int:
            return await fail(x)

        with pytest.raises(ValueError, match="no 1"):
            invoke(failing, 1, stream_mode="updates")
        with pytest.raises(ConfigError, match="unknown stream mode 'bogus'"):
            invoke(failing, 1, stream_mode="bogus")


def test_other_modes_have_writers_too() -> None:
    @entrypoint()
    def workflow(_: None) -> None:
        get_stream_writer("messages")(("token", {}))
        get_stream_writer("updates")({"step": 1})

    assert list(workflow.stream(None, stream_mode=["messages", "updates"])) == [
        ("messages", ("token", {})),
        ("updates", {"step": 1}),
        ("updates", {"workflow": None}),
    ]


def test_an_unknown_mode_has_no_writer() -> None:
    @entrypoint()
    def workflow(_: None) -> None:
        get_stream_writer("bogus")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    with pytest.raises(ConfigError, match="unknown stream mode 'bogus'"):
        workflow.invoke(None)


def test_draining_lets_the_reader_catch_up() -> None:
    ahead: list[int] = []
    read = 0

    @entrypoint()
    async def workflow(n: int, *, writer: StreamWriter) -> None:
        for i in range(n):
            writer(i)
            await writer.drain()
            ahead.append(i - read)

    async def main() -> None:
        nonlocal read
        async for chunk in workflow.astream(10_000, stream_mode="custom"):
            read = chunk

    asyncio.run(main())
    assert read == 9_999
    assert max(ahead) < 3_000  # of 10,000 that would be written without waiting


def test_draining_where_nobody_reads_goes_on_at_once() -> None:
    @entrypoint()
    async def workflow(_: None, *, writer: StreamWriter) -> str:
        writer("lost")
        await writer.drain()
        return "done"

    assert workflow.invoke(None) == "done"


def test_draining_ends_when_the_reader_leaves() -> None:
    drained = []

    @entrypoint()
    async def workflow(_: None, *, writer: StreamWriter) -> None:
        for i in range(2_000):
            writer(i)
        try:
            await writer.drain()
        finally:
            drained.append(True)

    async def main() -> None:
        chunks: Any = workflow.astream(None, stream_mode="custom")
        await anext(chunks)
        await chunks.aclose()

    asyncio.run(main())
    assert drained == [True]
