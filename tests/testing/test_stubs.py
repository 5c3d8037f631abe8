"""Stand-ins for tasks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durably import CachePolicy, Command, InMemorySaver, RetryPolicy, entrypoint, interrupt, task
from durably.cache.memory import InMemoryCache
from durably.errors import ConfigError
from durably.testing import Call, stub


@task
def add(a: int, b: int = 1, *, writer: Any = None) -> int:
    raise NotImplementedError


@task
async def aadd(a: int, b: int = 1) -> int:
    raise NotImplementedError


@entrypoint()
async def both(x: int) -> Any:
    return await add(x), await aadd(x, b=2)


def test_what_it_returns_and_what_it_was_called_with() -> None:
    with stub(add, returning=5) as sync_calls, stub(aadd, returning=6) as async_calls:
        assert both.invoke(1) == (5, 6)
    assert sync_calls.calls == [Call((1,), {})]
    assert async_calls.calls == [Call((1,), {"b": 2})]


def test_none_is_something_to_return() -> None:
    with stub(add, returning=None), stub(aadd, returning=None):  # type: ignore[arg-type]
        assert both.invoke(1) == (None, None)


def test_a_function_instead() -> None:
    async def acall(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a - b

    with stub(add, calling=lambda a, b=1: a * 10 + b), stub(aadd, calling=acall):
        assert both.invoke(3) == (31, 1)
    with stub(add, returning=0), stub(aadd, calling=lambda a, b: a + b):
        assert both.invoke(3) == (0, 5)


@pytest.mark.parametrize("error", [ConnectionError, ConnectionError("down")])
def test_it_raises_and_the_policies_apply(error: Any) -> None:
    @task(retry_policy=RetryPolicy(initial_interval=0, max_attempts=3, jitter=False))
    def fetch() -> str:
        raise NotImplementedError

    @entrypoint()
    def run(_: int) -> Any:
        try:
            return fetch().result()
        except ConnectionError as caught:
            return repr(caught)

    with stub(fetch, raising=error) as stubbed:
        assert run.invoke(1).startswith("ConnectionError(")
    assert len(stubbed.calls) == 3


def test_the_task_is_itself_again_whatever_happened() -> None:
    with pytest.raises(KeyError), stub(add, returning=1):
        raise KeyError
    with pytest.raises(NotImplementedError):
        both.invoke(1)


def test_a_run_recorded_without_a_stub_goes_on_with_one() -> None:
    """The arguments are fingerprinted as the task's own."""

    @task
    def look_up(key: str, *, times: int = 1) -> str:
        return key * times

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    def run(_: int) -> Any:
        return look_up("a").result(), interrupt("?"), look_up("b", times=2).result()

    run.invoke(1, thread_id="t")
    with stub(look_up, returning="stubbed") as stubbed:
        assert run.invoke(Command(resume=1), thread_id="t") == ("a", 1, "stubbed")
    assert stubbed.calls == [Call(("b",), {"times": 2})]


def test_methods() -> None:
    class Shop:
        @task
        def price(self, item: str) -> int:
            raise NotImplementedError

    shop = Shop()

    @entrypoint()
    def run(item: str) -> int:
        return shop.price(item).result()

    with stub(Shop.price, returning=3) as stubbed:
        assert run.invoke("tea") == 3
    assert stubbed.calls == [Call((shop, "tea"), {})]


def test_its_results_are_not_cached() -> None:
    @task(cache_policy=CachePolicy())
    def dear(x: int) -> str:
        return "real"

    @entrypoint(cache=InMemoryCache())
    def run(x: int) -> str:
        return dear(x).result()

    with stub(dear, returning="stub"):
        assert run.invoke(1) == "stub"
    assert run.invoke(1) == "real"


@pytest.mark.parametrize("given", [{}, {"returning": 1, "raising": KeyError}])
def test_exactly_one_behaviour(given: Any) -> None:
    with pytest.raises(ConfigError, match="exactly one"), stub(add, **given):
        pass


def test_only_tasks() -> None:
    with pytest.raises(ConfigError, match="@task"), stub(print, returning=1):  # type: ignore[arg-type]
        pass
