"""Concurrency that replays: branches, and races whose outcome is recorded.

Which of several futures finished first, and whether a time limit was hit, is not the same on replay when the standard
library decides it. The functions here record what happened as a call of the run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import copy_context
from functools import wraps
from typing import Any, Final, Generic, ParamSpec, TypeVar

from .context import current, here
from .engine.call import TaskFuture
from .engine.cutoff import Cutoff
from .engine.function import Function
from .engine.race import FIRST_COMPLETED, FIRST_EXCEPTION, Race
from .engine.scope import Scope
from .engine.steps import adrive
from .errors import ConfigError

__all__ = ["as_completed", "branch", "in_context", "patched", "pause", "timeout", "wait"]

P = ParamSpec("P")
R = TypeVar("R")

ALL_COMPLETED: Final = concurrent.futures.ALL_COMPLETED

NOTHING: Final[AbstractContextManager[None]] = nullcontext()

LOOK: Final = 0.001
"""Seconds between two looks at a block that is replayed up to the point where its time was up."""

QUIET_LOOKS: Final = 20
"""After so many looks without a sign of life the block has come to rest."""


def _scope(what: str) -> Scope:
    place = here(what)
    assert isinstance(place, Scope)
    return place


@contextmanager
def branch(name: str) -> Iterator[None]:
    """Give the calls in a ``with`` block a scope of their own, named and so independent of the order of branches.

    A second block of the same name in the same scope goes on where the first one ended.

    Args:
        name: names the branch within the scope around it.

    >>> from durably import entrypoint, task
    >>> @task
    ... def step(x: int) -> int:
    ...     return x + 1
    >>> @entrypoint()
    ... def both(x: int) -> list[int]:
    ...     with branch("left"):
    ...         left = step(x)
    ...     with branch("right"):
    ...         right = step(10 * x)
    ...     return [left.result(), right.result()]
    >>> both.invoke(1)
    [2, 11]
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(f"branch({name!r}): give a string that is not empty")
    token = current.set(_scope("branch()").named(name))
    try:
        yield
    finally:
        current.reset(token)


def in_context(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that it belongs to the present scope in whatever thread it is called.

    >>> import threading
    >>> from durably import entrypoint, task
    >>> @task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> @entrypoint()
    ... def threaded(x: int) -> list[int]:
    ...     results: list[int] = []
    ...     thread = threading.Thread(target=in_context(lambda: results.append(double(x).result())))
    ...     thread.start()
    ...     thread.join()
    ...     return results
    >>> threaded.invoke(4)
    [8]
    """
    context = copy_context()

    @wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.copy().run(function, *args, **kwargs)  # a context can be entered only once at a time

    return carried


class Waited(Generic[R]):
    """The outcome of `wait`: ask with ``.result()`` or ``await``; both give ``(done, not_done)``."""

    __slots__ = ("_call", "_futures")

    def __init__(self, call: TaskFuture[Any], futures: list[TaskFuture[R]]) -> None:
        self._call = call
        self._futures = futures

    def result(self) -> tuple[list[TaskFuture[R]], list[TaskFuture[R]]]:
        """Block until it is decided."""
        return self._split(self._call.result())

    def __await__(self) -> Generator[Any, Any, tuple[list[TaskFuture[R]], list[TaskFuture[R]]]]:
        return self._split((yield from self._call.__await__()))

    def _split(self, done: list[int]) -> tuple[list[TaskFuture[R]], list[TaskFuture[R]]]:
        chosen = set(done)
        others = [future for i, future in enumerate(self._futures) if i not in chosen]
        for future in others:
            future.run.outrun(future, True)
        return [self._futures[i] for i in done], others


def wait(
    futures: Iterable[TaskFuture[R]], *, timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> Waited[R]:
    """Wait for several calls, and record which of them were done.

    Args:
        futures: what task calls returned, in an order that is the same on replay.
        timeout: for how many seconds to wait at most.
        return_when: ``"ALL_COMPLETED"``, ``"FIRST_COMPLETED"`` or ``"FIRST_EXCEPTION"``.

    Returns:
        Something to ask with ``.result()`` or ``await``; it gives two lists, of those done and of those not done. On
        replay they are the same, whatever is done by then.

    >>> from durably import entrypoint, task
    >>> @task
    ... def square(x: int) -> int:
    ...     return x * x
    >>> @entrypoint()
    ... def squares(xs: list[int]) -> list[int]:
    ...     done, not_done = wait([square(x) for x in xs]).result()
    ...     return [future.result() for future in done]
    >>> squares.invoke([1, 2, 3])
    [1, 4, 9]
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ConfigError(f"wait(return_when={return_when!r}): give ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION")
    listed = list(futures)

    scope = _scope("wait()")
    race = Race(listed, return_when)

    def armed() -> AbstractContextManager[None]:
        return NOTHING if timeout is None else scope.body.run.naps.armed()

    def block(keys: list[str], timeout: float | None, return_when: str) -> list[int]:
        with armed():
            while left := race.left():
                concurrent.futures.wait(left, timeout, return_when)
                if timeout is not None:
                    break
        return race.outcome()

    async def suspend(keys: list[str], timeout: float | None, return_when: str) -> list[int]:
        with armed():
            while left := race.left():
                await asyncio.wait(left, timeout=timeout, return_when=return_when)  # type: ignore[type-var]
                if timeout is not None:
                    break
        return race.outcome()

    on_loop = asyncio._get_running_loop() is not None
    function = Function(
        suspend if on_loop else block,
        "wait",
        on_loop,
        is_passive=True,
        is_own=False,
        rests=lambda: timeout is None and bool(race.left()),
    )
    keys = [str(future.key) for future in listed]
    return Waited(scope.body.run.call(scope, function, (keys, timeout, return_when), {}), listed)


class as_completed(Generic[R]):
    """Iterate over calls as they are done, in an order that is recorded; with ``for``, or with ``async for``.

    Args:
        futures: what task calls returned, in an order that is the same on replay.

    >>> from durably import entrypoint, task
    >>> @task
    ... def square(x: int) -> int:
    ...     return x * x
    >>> @entrypoint()
    ... def total(xs: list[int]) -> int:
    ...     return sum(future.result() for future in as_completed([square(x) for x in xs]))
    >>> total.invoke([1, 2, 3])
    14
    """

    def __init__(self, futures: Iterable[TaskFuture[R]]) -> None:
        self._futures = list(futures)

    def __iter__(self) -> Iterator[TaskFuture[R]]:
        left = self._futures
        while left:
            done, left = wait(left, return_when=FIRST_COMPLETED).result()
            yield from done

    async def __aiter__(self) -> AsyncIterator[TaskFuture[R]]:
        left = self._futures
        while left:
            done, left = await wait(left, return_when=FIRST_COMPLETED)
            for future in done:
                yield future


@asynccontextmanager
async def timeout(seconds: float | None) -> AsyncIterator[None]:
    """Limit the time of an ``async with`` block, and record whether the limit was hit.

    On replay a block that was in time has all the time it needs. One that was not ends where its records end: calls that
    were not done when the time ran out are not done in it this time either. When the `TimeoutError` ends the run's
    attempt, ``invoke(None, config)`` tries the block again, like any failed call.

    Args:
        seconds: the limit; None for none.

    Raises:
        TimeoutError: the block took longer.

    >>> import asyncio
    >>> from durably import entrypoint
    >>> @entrypoint()
    ... async def patient(seconds: float) -> str:
    ...     try:
    ...         async with timeout(seconds):
    ...             await asyncio.sleep(30)
    ...         return "in time"
    ...     except TimeoutError:
    ...         return "too late"
    >>> patient.invoke(0.001)
    'too late'
    """
    if seconds is not None and not isinstance(seconds, (int, float)):
        raise ConfigError(f"timeout({seconds!r}): give a number of seconds, or None")
    scope = _scope("timeout()")
    alarm = _Alarm(scope, seconds)
    try:
        async with alarm.limit:
            with alarm.set(), scope.body.run.naps.armed():
                yield
    except TimeoutError:
        if not alarm.limit.expired() or alarm.mark.failed is None:
            raise
    if not alarm.mark.decided:
        alarm.mark.decide(False)
    if scope.body.run.durability == "sync":
        await adrive(scope.body.run.recorder.flush())
    if alarm.mark.failed is not None:
        raise alarm.mark.failed


class _Alarm:
    """Ends a block when its time is up, or on replay, when it has come to the point where it was up."""

    def __init__(self, scope: Scope, seconds: float | None) -> None:
        self.mark = scope.body.run.mark(scope, "timeout")
        self.limit = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._scope = scope
        self._seconds = seconds
        self._timers: list[asyncio.TimerHandle] = []

    @contextmanager
    def set(self) -> Iterator[None]:
        """For the length of the block."""
        run = self._scope.body.run
        try:
            if self.mark.failed is not None:
                with run.cut_off(self._scope, self.mark) as cutoff:
                    self._later(0.0, lambda: self._look(cutoff, self._loop.time(), -1, 0))
                    yield
            else:
                if not self.mark.decided and self._seconds is not None:
                    self._later(self._seconds, self._ring)
                yield
        finally:
            for timer in self._timers:
                timer.cancel()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers[:] = [self._loop.call_later(seconds, call)]

    def _ring(self) -> None:
        error = TimeoutError(f"the block took longer than {self._seconds:g} seconds")
        self._scope.body.run.fail(self.mark, error)
        self._expire()

    def _expire(self) -> None:
        self.limit.reschedule(self._loop.time())

    def _look(self, cutoff: Cutoff, since: float, taken: int, quiet: int) -> None:
        """Expire when the recorded calls have been made, and the block has then come to rest."""
        quiet = quiet + 1 if cutoff.complete and cutoff.taken == taken else 0
        lost = self._loop.time() - since > (self._seconds or 0)  # the program has changed: it does not make them all
        if quiet >= QUIET_LOOKS or (lost and not cutoff.complete):
            cutoff.open()
            self._expire()
            self._later(LOOK, lambda: self._scope.body.run.release(self._scope, cutoff))  # behind the cancellation
        else:
            self._later(LOOK, lambda: self._look(cutoff, since, cutoff.taken, quiet))


def patched(name: str) -> bool:
    """Whether a change of a workflow's or task's code applies to the body under way.

    True for a body that comes to this point for the first time; its run remembers it. False for one that had passed it
    before the change was shipped, so that it replays the code it was recorded with. The answer is the same wherever a
    body asks for it.

    Args:
        name: names the change; unique within the workflow.

    >>> from durably import entrypoint
    >>> @entrypoint()
    ... def greet(name: str) -> str:
    ...     return f"Good day, {name}" if patched("formal") else f"Hi {name}"
    >>> greet.invoke("Ada")
    'Good day, Ada'
    """
    scope = _scope("patched()")
    return scope.body.run.is_patched(scope, name)


def pause(name: str = "") -> None:
    """Stop the run here, without a question: ``invoke(None, config)`` goes on, and passes.

    Args:
        name: names the place. A place that the body comes to several times is numbered by how often it did.

    Raises:
        GraphInterrupt: to stop the body, a `BaseException`: let it pass.
        ConfigError: the run is not stored, so nobody could go on with it.

    >>> from durably import InMemorySaver, entrypoint, task
    >>> @task
    ... def draft(topic: str) -> str:
    ...     return f"on {topic}"
    >>> @entrypoint(checkpointer=InMemorySaver())
    ... def write(topic: str) -> str:
    ...     text = draft(topic).result()
    ...     pause("drafted")
    ...     return text.upper()
    >>> write.invoke("rivers", thread_id="1")
    {'__interrupt__': []}
    >>> write.invoke(None, thread_id="1")
    'ON RIVERS'
    """
    scope = _scope("pause()")
    run = scope.body.run
    if not run.recorder.stores:
        raise ConfigError("pause() needs a checkpointer: a run that is not stored cannot be gone on with")
    run.pause(scope, name)
