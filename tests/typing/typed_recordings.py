"""What the type checkers say about recorded streams. Read by mypy and pyright; never run."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import assert_type

from durably import record


def begin() -> Iterator[str]:
    raise NotImplementedError


def begin_manager() -> AbstractContextManager[Iterator[int]]:
    raise NotImplementedError


async def request() -> AsyncIterable[bytes]:
    raise NotImplementedError


def begin_async_manager() -> AbstractAsyncContextManager[AsyncIterator[int]]:
    raise NotImplementedError


for word in record(begin):
    assert_type(word, str)

for number in record(begin_manager):
    assert_type(number, int)

for number in record(begin_manager()):
    assert_type(number, int)


async def read() -> None:
    async for data in record(request()):
        assert_type(data, bytes)
    async for data in record(request):
        assert_type(data, bytes)
    async for number in record(begin_async_manager, name="numbers"):
        assert_type(number, int)


record(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
