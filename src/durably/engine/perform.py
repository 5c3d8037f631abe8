"""What happens in a call from its start to its recorded end: cache, attempts, timeouts, children, record."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from ..errors import GraphBubbleUp, GraphInterrupt, Stop
from . import announce, caching
from .failures import chain
from .function import FinalValue
from .future import CANCELLED, FINISHED
from .retry import seconds_before_retry
from .steps import Rest, Steps, adrive, drive
from .transactional import transacted

if TYPE_CHECKING:
    from .call import TaskFuture
    from .stream import Channel

__all__ = ["Ended", "Settled", "close", "perform", "perform_here", "perform_on_loop"]

SPENT: Final = Context()
"""In the place of the context of a call that is over, which knows the body, and through it the call: without such circles
memory is freed at once, and not by the garbage collector."""


def perform_here(call: TaskFuture[Any]) -> None:
    """Run a claimed call on this thread."""
    ended: Ended | None = None
    if _is_simple(call):
        call.begin_attempt()
        try:
            value = call.block()
        except BaseException as error:
            ended = Ended(None, error)
        else:
            ended = _recorded(call, value)
            if ended is None:
                _conclude(call, value, drive(_flushed(call)) if call.run.flushes else None)
                return
    drive(perform(call, ended))


async def perform_on_loop(call: TaskFuture[Any]) -> None:
    """Run a claimed call on the running event loop."""
    ended: Ended | None = None
    if _is_simple(call):
        call.begin_attempt()
        try:
            value = await call.wait()
        except BaseException as error:
            ended = Ended(None, error)
        else:
            ended = _recorded(call, value)
            if ended is None:
                _conclude(call, value, (await adrive(_flushed(call))) if call.run.flushes else None)
                return
    await adrive(perform(call, ended))


def _is_simple(call: TaskFuture[Any]) -> bool:
    """Whether there is nothing around the body to wait for, so that it need not be a step of `perform`."""
    return call.function.is_simple and call.env.is_simple


def _recorded(call: TaskFuture[Any], value: Any) -> Ended | None:
    """Record what the body of a simple call returned; or how it ended, where more is to be done."""
    if call.children or call.made_new_calls or call.asked or call.stopped or isinstance(value, FinalValue):
        return Ended(value)
    try:
        call.run.recorder.result(call, value)
    except BaseException as error:
        return Ended(None, error)
    return None


def _flushed(call: TaskFuture[Any]) -> Steps[BaseException | None]:
    """Go on when what is recorded is on disk; returns why it could not be written."""
    try:
        if call.env.journaled:
            yield from call.run.recorder.flush()
    except BaseException as failure:
        return failure
    return None


def _conclude(call: TaskFuture[Any], value: Any, error: BaseException | None, state: str = FINISHED) -> None:
    """A call has its outcome."""
    if error is not None:
        call.run.raised(call, error)
    if call.cancelling:
        call.uncancel()
    call.settle(state, value, error)
    call.context = SPENT


def perform(call: TaskFuture[Any], ended: Ended | None = None) -> Steps[None]:
    """Run a claimed call to its recorded end. Whatever happens becomes the call's outcome; nothing is raised.

    Args:
        call: what to run.
        ended: how its body ended, where that has been run already.
    """
    run, env = call.run, call.env
    value: Any = None
    error: BaseException | None = None
    state = FINISHED
    recorded = False
    if env.taps and call.parent is not None:
        announce.started(call)
    try:
        policy = None if env.cache is None else call.cache_policy
        if env.cache is None or policy is None:
            value = yield from _execute(call, ended)
        else:
            value = yield from caching.through(call, env.cache, policy, _execute)
        value, to_record = run.returned(call, value)
        recorded = run.recorder.result(call, to_record)
    except CancelledError:
        state = CANCELLED
    except GraphBubbleUp as signal:
        error = signal
    except BaseException as failure:
        error = failure
        recorded = run.recorder.failure(call, failure)
    if recorded and run.flushes:
        error = (yield from _flushed(call)) or error
    if call.parent is not None and call.parent.env.taps:
        if error is not None and not isinstance(error, GraphBubbleUp):
            announce.failed(call, error)
        elif error is None and state is FINISHED:
            announce.returned(call, value)
    _conclude(call, value, error, state)


def _execute(call: TaskFuture[Any], ended: Ended | None = None) -> Steps[Any]:
    """Attempt after attempt, until one returns or there is to be no further one."""
    if call.env.taps:
        yield Room(call.env.taps)
    while True:
        if ended is None:
            call.begin_attempt()
        try:
            if ended is not None:
                value = yield ended
            else:
                value = (yield from transacted(call)) if call.function.transactional else (yield call)  # the body
            if call.children:
                yield from close(call, None)
            if call.asked or call.stopped:
                _check_swallowed(call)
            if call.made_new_calls:
                call.run.recorder.report_leftovers(call)
            return value
        except BaseException as error:
            failure = _signal_in(error) or error
        yield from close(call, failure)
        seconds = _seconds_before_retry(call, failure)
        if seconds is None:
            raise failure
        yield Rest(seconds)
        if call.run.stopping is not None:
            raise failure
        call.run.recorder.rewind(call.path)
        ended = None


def _seconds_before_retry(call: TaskFuture[Any], failure: BaseException) -> float | None:
    policies = call.retry_policies
    if not policies or not isinstance(failure, Exception) or call.run.stopping is not None:
        return None
    return seconds_before_retry(policies, failure, call.attempt)


def _check_swallowed(call: TaskFuture[Any]) -> None:
    """A body that swallowed the signal of a question, or of a stop, stops all the same."""
    if call.asked:
        raise GraphInterrupt
    if call.stopped and call.run.stopping is not None:
        raise Stop(call.run.stopping)


def _signal_in(error: BaseException) -> BaseException | None:
    """The signal that an exception stands for: a member of the group, or what a body turned into this exception."""
    if isinstance(error, BaseExceptionGroup):
        signals = error.subgroup(GraphBubbleUp)
        if signals is not None:
            return next(_leaves(signals))
    return next((link for link in chain(error) if isinstance(link, GraphBubbleUp)), None)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def close(call: TaskFuture[Any], failure: BaseException | None) -> Steps[None]:
    """End the calls that a body left unfinished.

    When the body returned, all of them finish but sleeps, which nobody waits for any more. When it asked, those finish that
    have begun or, the limits allowing, would have: to its caller a call begins when it is made. When it failed or was
    stopped, queued ones do not start, async ones are cancelled, and sync ones are waited for up to the run's grace.
    """
    if not call.children:
        return
    if failure is None:
        yield from _finish(call)
    elif isinstance(failure, GraphInterrupt):
        if call.run.scheduler.limited:
            _withdraw(call)
        yield from _finish(call, asked=True)
    else:
        yield from _abandon(call)


def _finish(call: TaskFuture[Any], *, asked: bool = False) -> Steps[None]:
    while children := call.run.scheduler.unfinished(call):
        working = [child for child in children if not child.function.waits_for_time]
        for child in working or children:
            if working or asked or call.asked:
                child.await_end()
            else:  # not awaited even for the moment that this takes: the attempt would leave with it
                child.cancel()
        for child in working or children:
            yield Settled(child)


def _withdraw(call: TaskFuture[Any]) -> None:
    for child in call.run.scheduler.unfinished(call):
        if not child.function.is_passive:
            child.withdraw()


def _abandon(call: TaskFuture[Any]) -> Steps[None]:
    deadline = time.monotonic() + call.run.options.grace
    children = call.run.scheduler.unfinished(call)
    for child in children:
        child.cancel()
    for child in children:
        yield Settled(child, max(0.0, deadline - time.monotonic()))


class Ended:
    """In the place of a body that has been run: how that ended."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any, error: BaseException | None = None) -> None:
        self.value = value
        self.error = error

    def block(self) -> Any:
        """What it returned, or raised."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # whose traceback would keep everything alive
        return self.value

    async def wait(self) -> Any:
        """The same."""
        return self.block()


class Room:
    """Let the readers of a stream catch up before more is written: on a thread, writing itself waits for them."""

    __slots__ = ("taps",)

    def __init__(self, taps: tuple[tuple[Channel, int], ...]) -> None:
        self.taps = taps

    def block(self) -> None:
        """Go on at once."""

    async def wait(self) -> None:
        """Let the event loop run until there is room."""
        for channel, _ in self.taps:
            await channel.room()


class Settled:
    """Wait until a call has ended in whatever way, or for some seconds."""

    __slots__ = ("call", "seconds")

    def __init__(self, call: TaskFuture[Any], seconds: float | None = None) -> None:
        self.call = call
        self.seconds = seconds

    def block(self) -> None:
        """Run it here if nobody has begun; otherwise sleep until it ends."""
        call = self.call
        if self.seconds is None and not call.done():
            call.help_here()
        if not call.done():
            with call._condition:
                call._condition.wait_for(call.done, self.seconds)

    async def wait(self) -> None:
        """Let the loop run until it ends."""
        await self.call.until_settled(self.seconds)
