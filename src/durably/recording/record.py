"""`record`: read a stream once, and replay it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Generic, TypeAlias, TypeVar

from ..context import current
from ..engine.around import BodyView
from ..engine.perform import Room
from ..engine.recorder import Mark
from ..engine.run import QUESTION
from ..engine.scope import Scope
from ..engine.steps import Steps, adrive, drive
from ..errors import ConfigError, Stop, TaskFailed
from .protocols import Event, Teller, joined, normal, read, rebuilt
from .source import END, Source

__all__ = ["Recording", "record"]

T = TypeVar("T")

Manager: TypeAlias = "AbstractContextManager[Iterable[T]] | AbstractAsyncContextManager[AsyncIterable[T]]"
Request: TypeAlias = "Awaitable[AsyncIterable[T]] | Iterable[T] | AsyncIterable[T] | Manager[T]"


def record(request: Request[T] | Callable[[], Request[T]], *, name: str = "record") -> Recording[T]:
    """Read the stream of a model client, and record it as one call.

    The events come as the client yields them. When the stream has ended it is recorded, and on replay its events come from
    the record, without a request; consecutive deltas of a text come as one then. While somebody streams the run in mode
    ``messages``, what the model says is shown there. Outside a run the events just pass through.

    A stream that fails is recorded with its failure, and follows the rules of tasks. A loop that is left before the end
    records nothing: the request is made again when the run is resumed.

    Args:
        request: what makes the request when the stream is read: the coroutine of an async client, a function of no
            arguments, or what a ``.stream()`` helper returns, of which the protocol's own events are read.
        name: under which the call is recorded.

    Returns:
        The events, for ``for`` with a sync client and ``async for`` with an async one. They can be read once.

    Raises:
        ConfigError: the request has been made already, or the name is no name.

    >>> from durably import InMemorySaver, entrypoint, interrupt
    >>> def tokens():
    ...     print("asking")
    ...     yield from ["Bees ", "hum."]
    >>> @entrypoint(checkpointer=InMemorySaver())
    ... def write(_: str) -> str:
    ...     text = "".join(record(tokens))
    ...     return f"{text} {interrupt('publish?')}"
    >>> asked = write.invoke("", thread_id="1")
    asking
    >>> from durably import Command
    >>> write.invoke(Command(resume="Yes."), thread_id="1")
    'Bees hum. Yes.'
    """
    if not isinstance(name, str) or not name or name == QUESTION:
        raise ConfigError(f"record(name={name!r}): give a string that is not empty, and not {QUESTION!r}")
    return Recording(request, name)


class Recording(Generic[T]):
    """What `record` returns: the events of a stream."""

    def __init__(self, request: Request[T] | Callable[[], Request[T]], name: str) -> None:
        self._source = Source(request)
        self._teller = Teller()
        self._read: list[Event] = []
        self._begun = False
        place = current.get()
        self._scope = place if isinstance(place, Scope) else None
        self._mark: Mark | None = None
        self._replayed: Iterator[Any] | None = None
        if self._scope is not None and self._scope.body.env.journaled:
            try:
                self._mark = self._scope.body.run.mark(self._scope, name, keeps=self._scope.body.keeps)
            except BaseException:
                self._source.drop()
                raise
            if self._mark.decided:
                self._source.drop()
                self._replayed = self._recorded(self._mark, self._scope)

    def __iter__(self) -> Iterator[T]:
        self._begin()
        try:
            while (event := drive(self._next())) is not END:
                yield event
        finally:
            drive(self._source.close())

    async def __aiter__(self) -> AsyncIterator[T]:
        self._begin()
        try:
            while (event := await adrive(self._next())) is not END:
                yield event
        finally:
            await adrive(self._source.close())

    def _begin(self) -> None:
        if self._begun:
            raise ConfigError("a recording can be read once: keep its events in a list to go through them again")
        self._begun = True

    def _next(self) -> Steps[Any]:
        """The next event that is shown, `END` behind the last one."""
        if self._replayed is not None:
            return next(self._replayed, END)
        try:
            while (event := (yield from self._source.next())) is not END:
                event = normal(event)
                if event is not None:
                    yield from self._take(event)
                    return event
        except Exception as error:
            yield from self._end(error)
            raise
        yield from self._end(None)
        return END

    def _take(self, event: Any) -> Steps[None]:
        """Keep an event, and tell those who listen."""
        if self._scope is None:
            return
        call = self._scope.body
        body = BodyView(call)
        entry = read(event)
        both = joined(self._read[-1], entry) if self._read else None
        if both is not None:
            self._read[-1] = both
        else:
            self._read.append(entry)
        call.alive()
        if body.listens("messages"):
            chunk = self._teller.chunk(entry)
            if chunk is not None:
                body.emit("messages", (chunk, self._metadata(body)), piece_of=chunk.id)
                yield Room(call.env.taps)

    def _metadata(self, body: BodyView) -> dict[str, Any]:
        known = {"ls_integration": "durably.record", "tags": list(body.config.get("tags") or ())}
        return {**body.config.get("metadata", {}), **body.labels, **self._teller.about(), **known}

    def _end(self, error: Exception | None) -> Steps[None]:
        """Record the stream."""
        mark, scope = self._mark, self._scope
        if mark is None or scope is None or scope.body.done():
            return
        if error is None:
            mark.decide(self._read)
        else:
            scope.body.run.fail(mark, error, self._read)
        if scope.body.run.durability == "sync":
            yield from scope.body.run.recorder.flush()

    def _recorded(self, mark: Mark, scope: Scope) -> Iterator[Any]:
        """The recorded events, and the failure behind them if there was one."""
        for event in mark.value() or ():
            yield rebuilt((event[0], event[1]))
        if isinstance(mark.failed, TaskFailed):  # as for a task: another exception would lead down another path
            scope.body.run.stop(mark.failed)
            scope.body.stopped = True
            raise Stop(mark.failed)
        if mark.failed is not None:
            raise mark.failed
