"""What the type checkers say about tasks. Read by mypy and pyright; never run."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import assert_type

from durably.func import task
from durably.types import CachePolicy, RetryPolicy


@task
def half(number: int, *, up: bool = False) -> float:
    return number / 2 + up


@task
async def fetch(address: str, timeout: float = 1.0) -> bytes:
    return address.encode()


@task()
def with_parentheses(number: int) -> list[int]:
    return [number]


@task(name="other", retry_policy=RetryPolicy(max_attempts=2), cache_policy=CachePolicy(ttl=60))
async def with_arguments(number: int) -> list[int]:
    return [number]


def plain(text: str) -> int:
    return len(text)


async def plain_async(text: str) -> int:
    return len(text)


@dataclass
class Writer:
    style: str

    @task
    def write(self, topic: str) -> str:
        return f"{topic}, in {self.style}"

    @task
    async def revise(self, text: str, rounds: int = 1) -> str:
        return text * rounds


# ------------------------------------------------------------------------------------------ sync callers


def results() -> None:
    assert_type(half(3).result(), float)
    assert_type(half(3, up=True).result(timeout=5), float)
    assert_type(half(number=3).result(), float)
    assert_type(fetch("a").result(), bytes)
    assert_type(with_parentheses(1).result(), list[int])
    assert_type(with_arguments(1).result(), list[int])
    assert_type(task(plain)("a").result(), int)
    assert_type(task(plain_async)("a").result(), int)
    assert_type(task(name="p")(plain)("a").result(), int)


def results_of_methods(writer: Writer) -> None:
    assert_type(writer.write("owls").result(), str)
    assert_type(writer.revise("owls", rounds=2).result(), str)


def futures() -> None:
    """A call gives a real future, which the standard library takes."""
    future: concurrent.futures.Future[float] = half(3)
    awaitable: Awaitable[bytes] = fetch("a")
    done, _ = concurrent.futures.wait([half(1), half(2)])
    assert_type([one.result() for one in done], list[float])
    assert_type([one.result() for one in concurrent.futures.as_completed([half(1)])], list[float])
    assert_type(half(3).exception(), BaseException | None)
    assert_type(half(3).cancel(), bool)
    del future, awaitable


# ----------------------------------------------------------------------------------------- async callers


async def awaited(writer: Writer) -> None:
    assert_type(await half(3), float)
    assert_type(await fetch("a"), bytes)
    assert_type(await with_parentheses(1), list[int])
    assert_type(await with_arguments(1), list[int])
    assert_type(await task(plain)("a"), int)
    assert_type(await task(plain_async)("a"), int)
    assert_type(await writer.write("owls"), str)
    assert_type(await writer.revise("owls"), str)


async def gathered() -> None:
    assert_type(await asyncio.gather(half(1), fetch("a")), tuple[float, bytes])
    assert_type(await asyncio.gather(*[fetch("a"), fetch("b")]), list[bytes])
    assert_type(await asyncio.wait_for(fetch("a"), 1), bytes)
    assert_type(await asyncio.shield(half(1)), float)


# ----------------------------------------------------------------------------------------------- mistakes


def wrong_arguments(writer: Writer) -> None:
    half("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    half(3, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    half(3, down=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    half()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fetch(b"a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with_parentheses("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with_arguments("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    writer.write(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    writer.write()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def wrong_results() -> None:
    a_string: str = half(3).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    not_yet: float = half(3)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del a_string, not_yet


def wrong_declarations() -> None:
    task(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    task(retry_policy="twice")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    task(name=3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
