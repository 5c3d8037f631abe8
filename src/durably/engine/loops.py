"""Event loops: the caller's own, and one of the library's for async work that a thread asks for."""

from __future__ import annotations

import asyncio
import os
import threading
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, ref

from ..context import current
from .steps import clock

__all__ = ["LoopHost", "in_context", "library_loop"]

T = TypeVar("T")


class LoopHost:
    """What the engine keeps for one event loop.

    One inbox serves all threads that post to the loop: waking a loop costs ten times as much as appending to a list
    that it is about to read.
    """

    __slots__ = ("_awake", "_before", "_factory", "_inbox", "_loop", "_runs")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # the table of hosts must not keep its loops alive
        self._inbox: deque[Callable[[], object]] = deque()
        self._awake = False
        self._runs = 0
        self._before: Any = None
        self._factory: Any = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop itself."""
        loop = self._loop()
        if loop is None:
            raise RuntimeError("the event loop is gone")
        return loop

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is the host of ``loop``."""
        return self._loop() is loop

    @staticmethod
    def of(loop: asyncio.AbstractEventLoop) -> LoopHost:
        """The one host of ``loop``."""
        host = _hosts.get(loop)
        if host is None:
            with _hosts_lock:
                host = _hosts.setdefault(loop, LoopHost(loop))
        return host

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop make a call, soon; from any thread. A loop that has been closed drops it."""
        self._inbox.append(call)
        if not self._awake:
            self._wake()

    def _wake(self) -> None:
        self._awake = True
        try:
            self.loop.call_soon_threadsafe(self._drain, context=Context())
        except RuntimeError:  # closed: whoever waited there is gone
            self._awake = False
            self._inbox.clear()

    def _drain(self) -> None:
        self._awake = False
        inbox = self._inbox
        try:
            for _ in range(len(inbox)):
                inbox.popleft()()
        finally:
            if inbox and not self._awake:  # one of the calls raised: the others are made all the same
                self._wake()

    def after_two_turns(self, call: Callable[[], object]) -> None:
        """Make a call once those who are about to await have had their turn. On the loop's own thread only."""
        context = Context()
        self.loop.call_soon(lambda: self.loop.call_soon(call, context=context), context=context)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the engine's own: not a branch of any scope."""
        return Context().run(self.loop.create_task, coroutine)

    # Branches: asyncio tasks that user code starts inside a body get a scope of their own.

    def enter(self) -> None:
        """A run begins on this loop."""
        clock().attend(self.loop)
        with _hosts_lock:
            self._runs += 1
            if self._runs == 1:
                self._before = self.loop.get_task_factory()
                self._factory = self._new_task
                self.loop.set_task_factory(self._factory)

    def leave(self) -> None:
        """A run has ended; after the last one the loop's task factory is as it was."""
        with _hosts_lock:
            self._runs -= 1
            if self._runs == 0 and self.loop.get_task_factory() is self._factory:
                self.loop.set_task_factory(self._before)

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Future[Any]:
        make: Any = self._before or _plain_task
        place: Any = current.get()
        if place is None:
            return make(loop, coroutine, **options)  # type: ignore[no-any-return]
        context: Context | None = options.pop("context", None)
        if context is None:
            branch = copy_context()
            branch.run(current.set, place.branch())
            if self._before is not None:  # which may be older than contexts as arguments are
                return branch.run(make, loop, coroutine, **options)
            return asyncio.Task(coroutine, loop=loop, context=branch, **options)
        return make(loop, coroutine, context=_in_branch(context, place), **options)  # type: ignore[no-any-return]


def _plain_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)


def _in_branch(context: Context, place: Any) -> Context:
    branch = place.branch()
    try:
        context.run(current.set, branch)
    except RuntimeError:  # it is entered just now: whoever runs in it keeps the scope
        context = context.copy()
        context.run(current.set, branch)
    return context


_hosts: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopHost] = WeakKeyDictionary()
_hosts_lock = threading.Lock()


@types.coroutine
def in_context(context: Context, body: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Awaits a coroutine inside a context of its own, without an `asyncio.Task` of its own."""
    try:
        yielded = context.run(body.send, None)  # a bound method would be kept while it waits, in each of many
        while True:
            try:
                value = yield yielded
            except BaseException as error:
                yielded = context.run(body.throw, error)
            else:
                yielded = context.run(body.send, value)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


class _LibraryLoop:
    """A loop on a daemon thread, started when first needed, one for the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._run, args=(self._loop,), name="durably-loop", daemon=True).start()
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()


library_loop = _LibraryLoop()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=library_loop.__init__)  # type: ignore[misc]
