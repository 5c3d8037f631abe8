"""What the type checkers say about workflows. Read by mypy and pyright; never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, assert_type

from durably.checkpoint.memory import InMemorySaver
from durably.func import entrypoint, task
from durably.types import Command, GraphOutput, Interrupt, RetryPolicy, StreamMode, StreamPart, StreamWriter, interrupt

THREAD: Any = {"configurable": {"thread_id": "1"}}


@dataclass
class Order:
    number: int


@dataclass
class Receipt:
    total: float


@task
def price(order: Order) -> float:
    return order.number * 1.5


@entrypoint(checkpointer=InMemorySaver())
def buy(order: Order) -> Receipt:
    return Receipt(price(order).result())


@entrypoint()
async def buy_async(order: Order) -> Receipt:
    return Receipt(await price(order))


@entrypoint(checkpointer=InMemorySaver(), retry_policy=RetryPolicy())
def count(step: int, *, previous: int | None = None) -> entrypoint.final[str, int]:
    total = (previous or 0) + step
    return entrypoint.final(value=f"{total}", save=total)


@entrypoint(checkpointer=InMemorySaver())
async def count_async(step: int, *, previous: int | None = None) -> entrypoint.final[str, int]:
    return entrypoint.final(value=f"{step}", save=step)


@entrypoint()
def injected(text: str, *, writer: StreamWriter, config: dict[str, Any]) -> int:
    writer(text)
    return len(config)


# ------------------------------------------------------------------------------------------------ results


def results() -> None:
    assert_type(buy.invoke(Order(1)), Receipt)
    assert_type(buy.invoke(Order(1), THREAD), Receipt)
    assert_type(buy.invoke(Order(1), thread_id="1"), Receipt)
    assert_type(buy.invoke(Order(1), THREAD, durability="sync"), Receipt)
    assert_type(buy_async.invoke(Order(1)), Receipt)
    assert_type(count.invoke(1, THREAD), str)
    assert_type(count_async.invoke(1, THREAD), str)
    assert_type(injected.invoke("a"), int)


async def awaited() -> None:
    assert_type(await buy.ainvoke(Order(1)), Receipt)
    assert_type(await buy_async.ainvoke(Order(1), THREAD), Receipt)
    assert_type(await count.ainvoke(1, THREAD), str)
    assert_type(await count_async.ainvoke(1, thread_id="1"), str)


def resumed() -> None:
    assert_type(buy.invoke(None, THREAD), Receipt)
    assert_type(buy.invoke(Command(resume="yes"), THREAD), Receipt)


def with_the_questions_beside() -> None:
    assert_type(buy.invoke(Order(1), THREAD, version="v2"), GraphOutput[Receipt])


def many() -> None:
    assert_type(buy.batch([Order(1), Order(2)]), list[Receipt])


async def many_awaited() -> None:
    assert_type(await count_async.abatch([1, 2], [THREAD, THREAD]), list[str])


def configured() -> None:
    assert_type(buy.with_config({"tags": ["a"]}).invoke(Order(1)), Receipt)


def streamed() -> None:
    updates = buy.stream(Order(1))
    assert_type(updates, Generator[dict[str, Any], None, None])
    updates.close()
    assert_type(next(buy.stream(Order(1), stream_mode="tasks")), dict[str, Any])
    assert_type(next(buy.stream(Order(1), stream_mode="values")), Any)
    assert_type(next(buy.stream(Order(1), stream_mode="messages")), tuple[Any, dict[str, Any]])
    assert_type(next(buy.stream(Order(1), stream_mode=["updates", "custom"])), tuple[StreamMode, Any])
    assert_type(next(buy.stream(Order(1), subgraphs=True)), tuple[tuple[str, ...], Any])
    assert_type(
        next(buy.stream(Order(1), stream_mode=["values"], subgraphs=True)), tuple[tuple[str, ...], StreamMode, Any]
    )
    assert_type(next(buy.stream(Order(1), THREAD, version="v2", thread_id="1")), StreamPart)


def parts() -> None:
    """The type of a part of version 2 says what it has."""
    for part in buy.stream(Order(1), stream_mode=["values", "updates"], version="v2"):
        if part["type"] == "values":
            assert_type(part["interrupts"], tuple[Interrupt[Any], ...])
        elif part["type"] == "updates":
            assert_type(part["data"], dict[str, Any])


async def streamed_async() -> None:
    updates = buy.astream(Order(1))
    assert_type(updates, AsyncGenerator[dict[str, Any], None])
    async with aclosing(updates):
        pass
    assert_type(await anext(buy.astream(Order(1), stream_mode=["updates", "custom"])), tuple[StreamMode, Any])
    assert_type(await anext(buy.astream(Order(1), subgraphs=True)), tuple[tuple[str, ...], Any])
    assert_type(await anext(buy.astream(Order(1), version="v2")), StreamPart)


def collected() -> None:
    assert_type(buy.invoke(Order(1), stream_mode="values"), Receipt)
    assert_type(buy.invoke(Order(1), stream_mode="values", version="v2"), GraphOutput[Receipt])
    assert_type(buy.invoke(Order(1), stream_mode="updates"), list[dict[str, Any]])
    assert_type(buy.invoke(Order(1), stream_mode=["updates", "values"]), list[Any])
    assert_type(buy.invoke(Order(1), stream_mode=["updates", "values"], version="v2"), list[StreamPart])


async def collected_async() -> None:
    assert_type(await buy.ainvoke(Order(1), stream_mode="values"), Receipt)
    assert_type(await buy.ainvoke(Order(1), stream_mode="tasks"), list[dict[str, Any]])
    assert_type(await buy.ainvoke(Order(1), stream_mode="custom", version="v2"), list[StreamPart])


def asked() -> None:
    assert_type(interrupt("sure?"), Any)


# ----------------------------------------------------------------------------------------------- mistakes


def wrong_inputs() -> None:
    buy.invoke("an order")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    buy.invoke()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    count.invoke("1", THREAD)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


def wrong_results() -> None:
    text: str = buy.invoke(Order(1))  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    saved: int = count.invoke(1, THREAD)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del text, saved


def wrong_options() -> None:
    buy.stream(Order(1), stream_mode="bogus")  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    buy.stream("an order")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    buy.stream(Order(1), version="v3")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    buy.invoke(Order(1), durability="never")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    entrypoint(checkpointer="memory")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
