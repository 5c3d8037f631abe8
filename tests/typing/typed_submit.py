"""What the type checkers say about submitted runs. Read by mypy and pyright; never run."""

from __future__ import annotations

from typing import Any, assert_type

from durably import Command, InMemorySaver, RunHandle, Worker, entrypoint


@entrypoint(checkpointer=InMemorySaver())
def double(x: int) -> float:
    return 2.0 * x


async def use() -> None:
    handle = double.submit(1, thread_id="a")
    assert_type(handle, RunHandle[float])
    assert_type(handle.result(timeout=1.0), float)
    assert_type(await handle, float)
    assert_type(await double.asubmit(Command(resume=1), {"configurable": {"thread_id": "a"}}), RunHandle[float])
    assert_type(double.handle(handle.run_id), RunHandle[float])
    assert_type(await double.ahandle(thread_id="a"), RunHandle[float])
    double.submit("one")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    worker = Worker([double], context=lambda run: run.metadata, concurrency=3)
    assert_type(worker.run(until_idle=True), None)
    Worker(concurrency=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Worker(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    context: Any = None
    Worker(double, context=context)
