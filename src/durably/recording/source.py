"""What is given to `durably.record`: a request that has not been made yet, in one of its forms."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ..engine.steps import Steps
from ..errors import ConfigError

__all__ = ["END", "Source"]

END: Final = object()
"""What comes behind the last event."""


class Source:
    """A request that has not been made yet, and then the stream of its answer.

    Args:
        request: an awaitable that gives a stream, a context manager that opens one, a generator, or a function of no
            arguments that gives one of these or a stream.

    Raises:
        ConfigError: it is something else.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self._events: Any = None
        self._leave: Callable[[], Any] | None = None
        if not (inspect.isawaitable(request) or callable(request) or _is_manager(request) or _is_generator(request)):
            raise ConfigError(
                f"record() was given {type(request).__name__}: a stream whose request has been made already would be made "
                "again on replay. Give a function that makes it, as in record(lambda: client.responses.create(..., "
                "stream=True)), or the coroutine of an async client."
            )

    def drop(self) -> None:
        """Make no request after all."""
        for value in (self._request, *getattr(self._request, "__dict__", {}).values()):
            if inspect.iscoroutine(value):  # also the one that an async client's manager holds
                value.close()

    def next(self) -> Steps[Any]:
        """The next event, `END` behind the last one; the first time, the request is made."""
        if self._events is None:
            yield from self._open()
        return (yield _Step(self._events, "__next__", "__anext__", END))

    def close(self) -> Steps[None]:
        """Close what has been opened."""
        leave, self._leave = self._leave, None
        if leave is not None:
            closed = leave()
            if inspect.isawaitable(closed):
                yield _Await(closed)

    def _open(self) -> Steps[None]:
        request = self._request
        value: Any = request() if callable(request) else request
        if inspect.isawaitable(value):
            value = yield _Await(value)
        if _is_manager(value):
            manager = value
            value = yield _Step(manager, "__enter__", "__aenter__")
            leave: Any = partial(getattr(manager, "__exit__", None) or manager.__aexit__, None, None, None)
            self._leave = leave
        else:
            leave = getattr(value, "aclose", None) or getattr(value, "close", None)
            self._leave = None if hasattr(value, "__aiter__") else leave  # in a `for` it cannot be awaited
        self._events = yield _Step(value, "__iter__", "__aiter__")
        self._leave = leave


class _Step:
    """Call a method that a sync object has under one name, and an async one under another."""

    __slots__ = ("_async", "_end", "_object", "_sync")

    def __init__(self, object: Any, sync: str, asynchronous: str, end: Any = None) -> None:
        self._object = object
        self._sync = sync
        self._async = asynchronous
        self._end = end

    def block(self) -> Any:
        """Call the sync one."""
        method = getattr(self._object, self._sync, None)
        if method is None:
            raise ConfigError("record() was given a stream of an async client: read it with `async for`")
        try:
            return method()
        except StopIteration:
            return self._end

    async def wait(self) -> Any:
        """Await the async one."""
        method = getattr(self._object, self._async, None)
        if method is None:
            raise ConfigError("record() was given a stream of a sync client: read it with `for`, not `async for`")
        try:
            value = method()
            return await value if inspect.isawaitable(value) else value
        except StopAsyncIteration:
            return self._end


class _Await:
    """Await the request, or the end, of an async client."""

    __slots__ = ("_awaitable",)

    def __init__(self, awaitable: Any) -> None:
        self._awaitable = awaitable

    def block(self) -> Any:
        """There is no event loop to wait on."""
        if inspect.iscoroutine(self._awaitable):
            self._awaitable.close()
        raise ConfigError("record() was given a request of an async client: read it with `async for`")

    async def wait(self) -> Any:
        """Await it."""
        return await self._awaitable


def _is_manager(value: Any) -> bool:
    """Whether it opens a stream when it is entered, and is none itself."""
    enters = hasattr(value, "__enter__") or hasattr(value, "__aenter__")
    return enters and not (hasattr(value, "__iter__") or hasattr(value, "__aiter__"))


def _is_generator(value: Any) -> bool:
    """Whether it is a generator, which begins when it is asked for its first value."""
    return inspect.isgenerator(value) or inspect.isasyncgen(value)
