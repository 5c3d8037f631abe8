"""What the type checkers say about workflows. Read by mypy and pyright; never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from durably.checkpoint.memory import InMemorySaver
from durably.func import entrypoint, task
from durably.types import Command, GraphOutput, RetryPolicy, StreamWriter, interrupt

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
    buy.invoke(Order(1), durability="never")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    entrypoint(checkpointer="memory")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
