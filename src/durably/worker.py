"""Workers: they look for runs that are due, and go on with them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from .engine.due import AGAIN, claim_due, hand_back
from .engine.shells import run_awaiting
from .engine.steps import adrive, clock
from .errors import ConfigError, GraphDrained, StorageError, Superseded
from .runtime import RunControl
from .state.recovery import ContextFor, check_context, resumption
from .workflow import Workflow

if TYPE_CHECKING:
    from .checkpoint.base import BaseCheckpointer
    from .engine.attempt import Invocation
    from .engine.request import Claim

__all__ = ["Worker"]

logger = getLogger("durably")

LEAVE: Final = 5.0
"""Seconds for which runs that are handed back have to come to their next call."""

BREATH: Final = 0.01
"""Seconds between two looks at least."""

WORKING, DRAINING, LEAVING = range(3)


class Worker:
    """Goes on with runs that are due: submitted ones, those handed back by other workers, and those of dead processes.

    Any number of workers, in any number of processes, share the work of a database; each run is taken by one of them. A
    worker looks when it is told that there is news, when something is due, and every ``poll_interval`` seconds.

    Args:
        workflows: a workflow, or several; each with a checkpointer.
        context: what the runs read as ``runtime.context``, or a function that takes a run (a `ThreadInfo`) and gives it.
        concurrency: how many runs at once.
        poll_interval: seconds between two looks without news.
        grace: for how many seconds a worker that is to stop lets its runs go on, before it hands them back.

    Raises:
        ConfigError: an argument is wrong, or a workflow needs a context and there is none.

    >>> from durably import InMemorySaver, entrypoint
    >>> @entrypoint(checkpointer=InMemorySaver())
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> handles = [double.submit(x, thread_id=str(x)) for x in (1, 2, 3)]
    >>> Worker(double).run(until_idle=True)
    >>> [handle.result() for handle in handles]
    [2, 4, 6]
    """

    def __init__(
        self,
        workflows: Workflow[Any, Any] | Iterable[Workflow[Any, Any]],
        *,
        context: ContextFor = None,
        concurrency: int = 10,
        poll_interval: float = 1.0,
        grace: float = 30.0,
    ) -> None:
        self.workflows = (workflows,) if isinstance(workflows, Workflow) else tuple(workflows)
        self.context = context
        self.concurrency = concurrency
        self.poll_interval = poll_interval
        self.grace = grace
        self._stage = WORKING
        self._shift: _Shift | None = None
        self._check()

    def _check(self) -> None:
        if not self.workflows:
            raise ConfigError("a worker needs a workflow to run: Worker(workflow)")
        for name, value, least in (("concurrency", self.concurrency, 1), ("grace", self.grace, 0)):
            if not isinstance(value, int | float) or isinstance(value, bool) or value < least:
                raise ConfigError(f"Worker({name}={value!r}): give a number, at least {least}")
        if not isinstance(self.poll_interval, int | float) or not self.poll_interval > 0:
            raise ConfigError(f"Worker(poll_interval={self.poll_interval!r}): give a positive number of seconds")
        for workflow in self.workflows:
            if not isinstance(workflow, Workflow):
                raise ConfigError(f"Worker({workflow!r}): give what @entrypoint made")
            if workflow.checkpointer is None:
                raise ConfigError(f"workflow {workflow.name!r} stores nothing: declare @entrypoint(checkpointer=...)")
            check_context(workflow._function, workflow._settings, self.context, "Worker")

    def run(self, *, until_idle: bool = False) -> None:
        """Work on this thread until `stop` is called, or the process gets SIGTERM or SIGINT.

        The first signal lets the runs under way finish within the grace period, a second one hands them back at once. On
        another thread than the main one there are no signals.

        Args:
            until_idle: return as soon as nothing is due and nothing is under way.
        """
        asyncio.run(self._run(until_idle))

    async def _run(self, until_idle: bool) -> None:
        with _signals(self):
            await self.arun(until_idle=until_idle)

    async def arun(self, *, until_idle: bool = False) -> None:
        """As `run`, on the running event loop, where async workflows run; signals are left to the loop's owner."""
        if self._shift is not None:
            raise ConfigError("this worker is at work already: make another one")
        self._shift = _Shift(self)
        try:
            await self._shift.work(until_idle)
        finally:
            self._shift = None
            self._stage = WORKING

    def stop(self, *, now: bool = False) -> None:
        """Have it stop, from any thread: take no more runs, and let those under way finish within the grace period.

        Args:
            now: hand them back at once, for another worker to go on with; so does a second call.
        """
        self._stage = LEAVING if now or self._stage >= DRAINING else DRAINING
        shift = self._shift
        if shift is not None:
            shift.heard()


class _Shift:
    """A worker at work on an event loop."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._control = RunControl(drain_timeout=worker.grace)
        self._attempts: dict[asyncio.Task[None], Invocation | None] = {}
        self._stations: dict[BaseCheckpointer, dict[str, Workflow[Any, Any]]] = {}
        for workflow in worker.workflows:
            assert workflow.checkpointer is not None
            self._stations.setdefault(workflow.checkpointer, {})[workflow.name] = workflow

    def heard(self) -> None:
        """There is news; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # the loop has been closed
            pass

    async def work(self, until_idle: bool) -> None:
        """Take runs until told to stop, and then see them off."""
        ends = [checkpointer.listen(self.heard) for checkpointer in self._stations]
        try:
            while self._worker._stage == WORKING:
                self._news.clear()
                seconds = await self._look()
                if not self._attempts:
                    seconds = clock().idle(seconds)
                    if until_idle and seconds > 0:
                        break
                await self._wait(min(max(seconds, BREATH), self._worker.poll_interval))
            await self._drain()
        finally:
            for end in ends:
                end()
            await self._leave()

    async def _look(self) -> float:
        """Take what is due; returns for how long there is nothing more to take."""
        next_due = float("inf")
        for checkpointer, workflows in self._stations.items():
            if not self._free:
                break
            try:
                found = await adrive(claim_due(checkpointer, list(workflows), self._free))
            except StorageError:
                logger.warning("a worker cannot look for runs; it tries again", exc_info=True)
                return self._worker.poll_interval
            for claim in found.claims:
                self._begin(checkpointer, workflows[claim.admitted.run.workflow], claim)
            if found.next_due is not None:
                next_due = min(next_due, found.next_due)
        return max(0.0, next_due - clock().now()) if self._free else float("inf")  # until an attempt ends

    @property
    def _free(self) -> int:
        return max(0, self._worker.concurrency - len(self._attempts))

    def _begin(self, checkpointer: BaseCheckpointer, workflow: Workflow[Any, Any], claim: Claim) -> None:
        how = (workflow._function, workflow._settings, claim, self._worker.context, self._control)
        try:
            invocation = resumption(*how)
        except Exception as error:
            run_id = claim.admitted.run.run_id
            logger.exception("run %s has no context; it stays pending, to be tried again in %g s", run_id, AGAIN)
            self._keep(adrive(hand_back(checkpointer, claim, error, AGAIN)), None)
        else:
            self._keep(_attempt(invocation), invocation)

    def _keep(self, attempt: Coroutine[Any, Any, None], invocation: Invocation | None) -> None:
        task = self._loop.create_task(attempt)
        self._attempts[task] = invocation
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._attempts[task]
        self._news.set()

    async def _wait(self, seconds: float) -> None:
        """For news, or so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _drain(self) -> None:
        """Let the attempts under way end, for as long as the grace period lasts."""
        self._control.request_drain("the worker stops")
        end = self._loop.time() + self._worker.grace
        while self._attempts and self._worker._stage != LEAVING and self._loop.time() < end:
            self._news.clear()
            await self._wait(end - self._loop.time())

    async def _leave(self) -> None:
        """Hand back what is still under way. What cannot be stopped is taken over when this process has ended."""
        attempts = dict(self._attempts)
        for task, invocation in attempts.items():
            if invocation is not None:
                invocation.leash.stop(GraphDrained("the worker that ran this has stopped, and handed it back"))
                if invocation.function.is_async:
                    task.cancel()
        if attempts:
            await asyncio.wait(attempts, timeout=LEAVE)
        if self._attempts:
            logger.warning(
                "%d runs did not come to a call in time: they go on until the process ends", len(self._attempts)
            )


async def _attempt(invocation: Invocation) -> None:
    """One attempt of a run. How it ends is recorded with the run; here it is only told."""
    try:
        await run_awaiting(invocation)
    except (GraphDrained, Superseded) as ended:
        logger.info("an attempt of workflow %r ended early: %s", invocation.function.name, ended)
    except asyncio.CancelledError:
        raise
    except BaseException:  # even one that would end the program ends only the run that raised it
        where = (invocation.function.name, invocation.options.thread_id)
        logger.warning("a run of workflow %r on thread %r failed", *where, exc_info=True)


@contextmanager
def _signals(worker: Worker) -> Iterator[None]:
    """Have the signals that end a process stop the worker, where they can be had."""
    loop, handled = asyncio.get_running_loop(), list[signal.Signals]()
    is_main = threading.current_thread() is threading.main_thread()
    try:
        for number in (signal.SIGTERM, signal.SIGINT) if is_main else ():
            try:
                loop.add_signal_handler(number, worker.stop)
            except NotImplementedError:  # on Windows
                break
            handled.append(number)
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
