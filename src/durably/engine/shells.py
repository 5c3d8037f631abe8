"""Where an attempt runs: on this thread, on this event loop, or on the other of the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import CancelledError, Future
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVar

from ..errors import BlockingError, NodeCancelledError
from .attempt import Invocation, attempt
from .loops import LoopHost, library_loop
from .steps import adrive, drive
from .stream import Channel
from .threads import pool

__all__ = ["run_awaiting", "run_blocking", "stream_awaiting", "stream_blocking"]

T = TypeVar("T")


def run_blocking(invocation: Invocation) -> Any:
    """Run a workflow and block until it ends: a sync one on this thread, an async one on the library's event loop."""
    on_loop = asyncio._get_running_loop() is not None
    if invocation.function.is_async:
        if on_loop:
            raise BlockingError(
                f"workflow {invocation.function.name!r} is async, and an event loop runs on this thread: "
                "use `await workflow.ainvoke(...)` (or `async for ... in workflow.astream(...)`)"
            )
        host = LoopHost.of(library_loop())
        return _wait_for(_on_loop(host, partial(attempt, invocation, host)), invocation)
    if on_loop:  # the caller blocks its loop and means it; the body's own waiting is not the loop's business
        return _wait_for(_on_thread(partial(drive, attempt(invocation, None)), copy_context()), invocation)
    return drive(attempt(invocation, None))


async def run_awaiting(invocation: Invocation) -> Any:
    """Run a workflow without blocking the running event loop: an async one on it, a sync one on a thread."""
    host = LoopHost.of(asyncio.get_running_loop())
    if invocation.function.is_async:
        return await adrive(attempt(invocation, host))
    ending = asyncio.wrap_future(_on_thread(partial(drive, attempt(invocation, host)), copy_context()))
    try:
        return await asyncio.shield(ending)
    except asyncio.CancelledError:
        if not ending.done():
            invocation.leash.stop(NodeCancelledError(f"workflow {invocation.function.name!r} was cancelled"))
            await asyncio.wait([ending], timeout=invocation.options.grace)
        ending.add_done_callback(_retrieved)  # the cancellation is what the caller hears of
        raise


def _retrieved(ending: asyncio.Future[Any]) -> None:
    """Nobody is left to hear how it ends; asyncio need not complain about that."""
    if not ending.cancelled():
        ending.exception()


def _on_thread(job: Callable[[], T], context: Context) -> Future[T]:
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(context.run(job))
        except BaseException as error:
            future.set_exception(error)

    pool.run(work)
    return future


def _on_loop(host: LoopHost, steps: Callable[[], Any]) -> Future[Any]:
    future: Future[Any] = Future()
    context = copy_context()

    async def work() -> None:
        try:
            future.set_result(await adrive(steps()))
        except asyncio.CancelledError:
            future.cancel()
            future.set_running_or_notify_cancel()
        except BaseException as error:
            future.set_exception(error)

    def start() -> None:
        task = context.run(host.loop.create_task, work())
        _keep(task)
        future.stop = lambda: host.post(task.cancel)  # type: ignore[attr-defined]

    host.post(start)
    return future


_running: set[asyncio.Task[Any]] = set()


def _keep(task: asyncio.Task[Any]) -> None:
    """A loop holds its tasks weakly."""
    _running.add(task)
    task.add_done_callback(_running.discard)


def _wait_for(future: Future[Any], invocation: Invocation) -> Any:
    """Block for the end; an interrupt from the keyboard stops the attempt in good order first."""
    try:
        return future.result()
    except CancelledError:
        raise NodeCancelledError(f"workflow {invocation.function.name!r} was cancelled") from None
    except (KeyboardInterrupt, SystemExit) as error:
        if not future.done():
            invocation.leash.stop(error)
            stop = getattr(future, "stop", None)
            if stop is not None:
                stop()
            _await_end(future, invocation.options.grace)
        raise


def _await_end(future: Future[Any], seconds: float) -> None:
    try:
        future.exception(timeout=seconds)
    except (TimeoutError, CancelledError):
        pass


def stream_blocking(invocation: Invocation, channel: Channel) -> Generator[Any, None, None]:
    """Run a workflow on another thread and yield its chunks as they come."""

    def job() -> Any:
        try:
            return run_blocking(invocation)
        finally:
            channel.close()

    ending = _on_thread(job, copy_context())
    try:
        for chunks in channel.batches():
            yield from chunks
        ending.result()
    finally:
        channel.leave()
        if not ending.done():
            invocation.leash.stop(NodeCancelledError(f"the reader of workflow {invocation.function.name!r} left"))
            _await_end(ending, invocation.options.grace)


async def stream_awaiting(invocation: Invocation, channel: Channel) -> AsyncGenerator[Any, None]:
    """Run a workflow beside the reader on the running event loop and yield its chunks as they come."""

    async def job() -> Any:
        try:
            return await run_awaiting(invocation)
        finally:
            channel.close()

    ending = asyncio.get_running_loop().create_task(job())
    try:
        async for chunks in channel.abatches():
            for chunk in chunks:
                yield chunk
        await ending
    finally:
        channel.leave()
        if not ending.done():
            ending.cancel()
            await asyncio.wait([ending])
        if not ending.cancelled():
            ending.exception()  # retrieved: it was raised above, or the reader has left
