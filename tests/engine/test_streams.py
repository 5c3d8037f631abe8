"""What streams carry, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from durably import InMemorySaver, Workflow, entrypoint, get_stream_writer, interrupt, task
from durably.errors import ConfigError
from durably.types import StreamWriter

LONG = 20.0


def stream(workflow: Workflow[Any, Any], value: Any, **how: Any) -> Iterator[Any]:
    return workflow.stream(value, **how)


def astream(workflow: Workflow[Any, Any], value: Any, **how: Any) -> Iterator[Any]:
    """As `stream`; each chunk is handed out before the next one is asked for."""
    runner = asyncio.Runner()
    chunks: Any = workflow.astream(value, **how)

    async def close() -> None:
        await chunks.aclose()

    async def following() -> Any:
        return await anext(chunks, END)

    try:
        while (chunk := runner.run(following())) is not END:
            yield chunk
    finally:
        runner.run(close())
        runner.close()


END = object()

both_ways = pytest.mark.parametrize("stream", [stream, astream])
colours = pytest.mark.parametrize("colour", ["sync", "async"])


@task
def double(x: int) -> int:
    get_stream_writer()(f"doubling {x}")
    return 2 * x


@task
async def adouble(x: int, writer: StreamWriter) -> int:
    writer(f"doubling {x}")
    await asyncio.sleep(0)
    return 2 * x


@entrypoint(name="flow")
def sync_flow(x: int) -> int:
    return double(double(x).result()).result()


@entrypoint(name="flow")
async def async_flow(x: int) -> int:
    return await double(await double(x))


flows = pytest.mark.parametrize("flow", [sync_flow, async_flow], ids=["sync", "async"])


@both_ways
@flows
class TestModes:
    def test_updates_are_the_default(self, stream: Any, flow: Any) -> None:
        assert list(stream(flow, 1)) == [{"double": 2}, {"double": 4}, {"flow": 4}]

    def test_values(self, stream: Any, flow: Any) -> None:
        assert list(stream(flow, 1, stream_mode="values")) == [4]

    def test_custom(self, stream: Any, flow: Any) -> None:
        assert list(stream(flow, 1, stream_mode="custom")) == ["doubling 1", "doubling 2"]

    def test_several(self, stream: Any, flow: Any) -> None:
        assert list(stream(flow, 1, stream_mode=["updates", "custom", "values"])) == [
            ("custom", "doubling 1"),
            ("updates", {"double": 2}),
            ("custom", "doubling 2"),
            ("updates", {"double": 4}),
            ("updates", {"flow": 4}),
            ("values", 4),
        ]

    def test_a_list_of_one_is_tagged_too(self, stream: Any, flow: Any) -> None:
        assert list(stream(flow, 1, stream_mode=["values"])) == [("values", 4)]

    @pytest.mark.parametrize("mode", ["update", "", ["updates", "bogus"], []], ids=repr)
    def test_an_unknown_one_is_refused_at_once(self, stream: Any, flow: Any, mode: Any) -> None:
        with pytest.raises(ConfigError, match=r"unknown stream mode.*'updates'"):
            flow.stream(1, stream_mode=mode)
        with pytest.raises(ConfigError, match=r"unknown stream mode.*'updates'"):
            flow.astream(1, stream_mode=mode)

    def test_other_bad_arguments_are_refused_at_once(self, stream: Any, flow: Any) -> None:
        for method in (flow.stream, flow.astream):
            with pytest.raises(ConfigError, match="unknown durability 'never'"):
                method(1, durability="never")
            with pytest.raises(ConfigError, match="unknown config entries"):
                method(1, {"bogus": 1})


@both_ways
class TestWhen:
    @colours
    def test_chunks_come_while_the_task_still_runs(self, stream: Any, colour: str) -> None:
        read = threading.Event()

        @task
        def slow(writer: StreamWriter) -> str:
            writer("begun")
            assert read.wait(LONG)
            return "ended"

        @task
        async def aslow(writer: StreamWriter) -> str:
            writer("begun")
            assert await asyncio.to_thread(read.wait, LONG)
            return "ended"

        @entrypoint()
        async def workflow(_: None) -> str:
            return await (slow if colour == "sync" else aslow)()

        chunks = stream(workflow, None, stream_mode=["custom", "values"])
        assert next(chunks) == ("custom", "begun")
        read.set()
        assert list(chunks) == [("values", "ended")]

    def test_an_update_comes_before_its_future_resolves(self, stream: Any) -> None:
        seen: list[Any] = []

        @entrypoint()
        def workflow(_: None) -> None:
            writer = get_stream_writer()
            for n in range(20):
                double(n).result()
                writer(n)

        seen = [
            chunk
            for mode, chunk in stream(workflow, None, stream_mode=["updates", "custom"])
            if mode == "updates" or isinstance(chunk, int)
        ]
        assert seen == [entry for n in range(20) for entry in ({"double": 2 * n}, n)] + [{"workflow": None}]

    def test_parallel_tasks_all_report(self, stream: Any) -> None:
        @entrypoint()
        async def workflow(n: int) -> int:
            return sum(await asyncio.gather(*((double if i % 2 else adouble)(i) for i in range(n))))

        chunks = list(stream(workflow, 50))
        assert chunks[-1] == {"workflow": sum(2 * i for i in range(50))}
        assert sorted(next(iter(chunk.values())) for chunk in chunks[:-1]) == [2 * i for i in range(50)]

    @colours
    def test_more_chunks_than_the_buffer_holds(self, stream: Any, colour: str) -> None:
        @entrypoint()
        def sync_flow(n: int) -> None:
            for i in range(n):
                get_stream_writer()(i)

        @entrypoint()
        async def async_flow(n: int) -> None:
            for i in range(n):
                get_stream_writer()(i)

        flow = sync_flow if colour == "sync" else async_flow
        assert list(stream(flow, 3000, stream_mode="custom")) == list(range(3000))

    def test_a_slow_reader_slows_a_thread_down(self, stream: Any) -> None:
        written: list[int] = []

        @entrypoint()
        def workflow(n: int) -> None:
            for i in range(n):
                get_stream_writer()(i)
                written.append(i)

        chunks = stream(workflow, 20_000, stream_mode="custom")
        assert next(chunks) == 0
        threading.Event().wait(0.05)
        assert len(written) < 10_000
        assert list(chunks) == list(range(1, 20_000))

    @colours
    def test_an_error_comes_after_the_chunks(self, stream: Any, colour: str) -> None:
        @task
        def fail() -> None:
            get_stream_writer()("about to fail")
            raise ValueError("it failed")

        @entrypoint()
        def sync_flow(_: None) -> None:
            double(1).result()
            fail().result()

        @entrypoint()
        async def async_flow(_: None) -> None:
            await double(1)
            await fail()

        seen = []
        with pytest.raises(ValueError, match="it failed"):
            for chunk in stream(sync_flow if colour == "sync" else async_flow, None, stream_mode=["updates", "custom"]):
                seen.append(chunk)  # noqa: PERF402
        assert seen == [("custom", "doubling 1"), ("updates", {"double": 2}), ("custom", "about to fail")]

    @colours
    def test_a_question(self, stream: Any, colour: str) -> None:
        @entrypoint()
        def sync_flow(_: None) -> Any:
            return double(1).result() + interrupt("how much?")

        @entrypoint()
        async def async_flow(_: None) -> Any:
            return await double(1) + interrupt("how much?")

        first, last = stream(sync_flow if colour == "sync" else async_flow, None)
        assert first == {"double": 2}
        assert [question.value for question in last["__interrupt__"]] == ["how much?"]

    def test_nothing_runs_before_the_first_chunk_is_asked_for(self, stream: Any) -> None:
        ran: list[int] = []

        @entrypoint()
        def workflow(_: None) -> int:
            ran.append(1)
            return 1

        chunks = stream(workflow, None)
        assert ran == []
        assert list(chunks) == [{"workflow": 1}]

    def test_leaving_early_stops_the_run_and_it_can_be_resumed(self, stream: Any) -> None:
        ran: list[str] = []
        resumed: list[bool] = []

        @task
        def first() -> str:
            ran.append("first")
            return "first"

        @task
        async def second() -> str:
            if not resumed:
                await asyncio.Event().wait()
            return "second"

        @entrypoint(checkpointer=InMemorySaver())
        def workflow(_: str) -> Any:
            return first().result(), second().result()

        chunks = stream(workflow, "go", thread_id="1")
        assert next(chunks) == {"first": "first"}
        chunks.close()
        resumed.append(True)
        assert workflow.invoke(None, thread_id="1") == ("first", "second")
        assert ran == ["first"]

    def test_two_streams_at_once_keep_apart(self, stream: Any) -> None:
        one, two = stream(sync_flow, 1), stream(async_flow, 10)
        assert [chunk for pair in zip(one, two, strict=True) for chunk in pair] == [
            {"double": 2}, {"double": 20}, {"double": 4}, {"double": 40}, {"flow": 4}, {"flow": 40},
        ]  # fmt: skip


def named(chunks: Any) -> list[Any]:
    """Chunks with the ids of nested calls left out of their namespaces."""
    return [(tuple(part.partition(":")[0] for part in ns), *rest) for ns, *rest in chunks]


@both_ways
class TestNested:
    @staticmethod
    def parent() -> Workflow[Any, Any]:
        @entrypoint()
        def grandchild(x: int) -> int:
            return double(x).result()

        @entrypoint()
        async def child(x: int) -> int:
            return await double(x) + await grandchild.ainvoke(x)

        @entrypoint()
        async def parent(x: int) -> int:
            return await child.ainvoke(x)

        return parent

    def test_without_subgraphs_only_its_own_calls(self, stream: Any) -> None:
        assert list(stream(self.parent(), 1)) == [{"child": 4}, {"parent": 4}]

    def test_with_subgraphs_each_chunk_says_where_it_is_from(self, stream: Any) -> None:
        assert named(stream(self.parent(), 1, subgraphs=True)) == [
            (("child",), {"double": 2}),
            (("child", "grandchild"), {"double": 2}),
            (("child",), {"grandchild": 2}),
            ((), {"child": 4}),
            ((), {"parent": 4}),
        ]

    def test_with_subgraphs_and_modes(self, stream: Any) -> None:
        chunks = stream(self.parent(), 1, stream_mode=["custom", "values"], subgraphs=True)
        assert named(chunks) == [
            (("child",), "custom", "doubling 1"),
            (("child", "grandchild"), "custom", "doubling 1"),
            (("child", "grandchild"), "values", 2),
            (("child",), "values", 4),
            ((), "values", 4),
        ]

    def test_two_calls_of_one_workflow_have_namespaces_of_their_own(self, stream: Any) -> None:
        @entrypoint()
        async def twice(_: None) -> list[int]:
            return list(await asyncio.gather(async_flow.ainvoke(1), async_flow.ainvoke(10)))

        chunks = list(stream(twice, None, stream_mode=["tasks", "updates"], subgraphs=True))
        begun = {
            data["id"]: data["input"]
            for ns, _, data in chunks
            if not ns and data.get("name") == "flow" and "input" in data
        }
        inside = [
            (begun[ns[0].partition(":")[2]], data["double"]) for ns, mode, data in chunks if ns and mode == "updates"
        ]
        assert sorted(inside) == [(1, 2), (1, 4), (10, 20), (10, 40)]

    def test_what_is_written_to_the_writer_always_comes_through(self, stream: Any) -> None:
        assert list(stream(self.parent(), 1, stream_mode="custom")) == ["doubling 1", "doubling 1"]


def test_a_loop_goes_on_while_it_streams() -> None:
    release = threading.Event()

    @task
    def slow() -> str:
        assert release.wait(LONG)
        return "done"

    @entrypoint()
    def workflow(_: None) -> str:
        return slow().result()

    async def main() -> list[Any]:
        async def collect() -> list[Any]:
            return [chunk async for chunk in workflow.astream(None)]

        collecting = asyncio.create_task(collect())
        for _ in range(20):
            await asyncio.sleep(0.001)
        release.set()
        return await collecting

    assert asyncio.run(main()) == [{"slow": "done"}, {"workflow": "done"}]


def test_leaving_an_async_stream_early() -> None:
    async def main() -> Any:
        async with aclosing(async_flow.astream(1)) as chunks:  # type: ignore[type-var]
            return await anext(chunks)

    assert asyncio.run(main()) == {"double": 2}


def test_a_writer_without_a_reader_does_nothing() -> None:
    assert sync_flow.invoke(1) == 4


def test_a_body_that_asks_again_gets_the_same_writer() -> None:
    @task
    def say(x: int) -> int:
        writer = get_stream_writer()
        writer(x)
        assert get_stream_writer("custom") is writer
        assert get_stream_writer("messages") is not writer
        get_stream_writer()(-x)
        return x

    @entrypoint()
    def run(n: int) -> None:
        for i in range(1, n):
            say(i).result()

    assert list(run.stream(3, stream_mode="custom")) == [1, -1, 2, -2]


def test_many_streams_on_one_loop_keep_apart() -> None:
    @entrypoint()
    async def count(n: int, *, writer: StreamWriter) -> int:
        for i in range(n):
            writer((n, i))
            await double(i)
        return n

    async def read(n: int) -> list[Any]:
        return [chunk async for chunk in count.astream(n, stream_mode="custom")]

    async def main() -> list[list[Any]]:
        return await asyncio.gather(*(read(n) for n in range(60)))

    for n, chunks in enumerate(asyncio.run(main())):
        assert [chunk for chunk in chunks if isinstance(chunk, tuple)] == [(n, i) for i in range(n)]
        assert [chunk for chunk in chunks if isinstance(chunk, str)] == [f"doubling {i}" for i in range(n)]


def test_a_reader_that_is_cancelled_stops_the_run_which_can_be_resumed() -> None:
    ran: list[int] = []

    @task
    async def step(n: int) -> int:
        ran.append(n)
        if len(ran) == 3:
            await asyncio.Event().wait()
        return n

    @entrypoint(checkpointer=InMemorySaver())
    async def steps(count: int) -> int:
        return sum([await step(n) for n in range(count)])

    async def main() -> None:
        seen: list[Any] = []

        async def read() -> None:
            async for chunk in steps.astream(5, thread_id="1"):
                seen.append(chunk)  # noqa: PERF401

        reader = asyncio.create_task(read())
        while len(ran) < 3:
            await asyncio.sleep(0.001)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert seen == [{"step": 0}, {"step": 1}]
        assert (await steps.aget_state(thread_id="1")).next == ("steps",)
        assert await steps.ainvoke(None, thread_id="1") == 10

    asyncio.run(main())
    assert ran == [0, 1, 2, 2, 3, 4]


@colours
def test_what_waits_for_a_slow_reader_is_bounded(colour: str) -> None:
    """However much is written, no more chunks are alive than the buffer and the reader's share of it hold."""
    alive: set[int] = set()
    most = 0

    class Chunk:
        def __init__(self, number: int) -> None:
            nonlocal most
            alive.add(number)
            most = max(most, len(alive))
            self.number = number

        def __del__(self) -> None:
            alive.discard(self.number)

    @entrypoint()
    def flow(n: int, *, writer: StreamWriter) -> None:
        for i in range(n):
            writer(Chunk(i))

    @entrypoint()
    async def aflow(n: int, *, writer: StreamWriter) -> None:
        for i in range(n):
            writer(Chunk(i))
            await writer.drain()

    async def collect() -> int:
        return sum([1 async for _ in aflow.astream(6_000, stream_mode="custom")])

    read = sum(1 for _ in flow.stream(6_000, stream_mode="custom")) if colour == "sync" else asyncio.run(collect())
    assert read == 6_000
    assert most < 2_200
