"""From those who write chunks to the one who reads them, bounded in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from .ending import Asked
from .loops import LoopHost

if TYPE_CHECKING:
    from ..types import StreamWriter
    from .call import TaskFuture

__all__ = ["Channel", "writer_of"]

CAPACITY: Final = 512
"""Chunks that may wait for the reader before writers wait for it: how late a chunk of a burst is depends on it."""

GIVE_WAY: Final = 0.001
"""For how many seconds a writer lets the reader run that it has woken, when a burst begins."""

WRITTEN: Final = frozenset(("custom",))
"""What bodies write comes through from nested workflows, too, whether or not the reader asked for theirs."""

DEBUGGED: Final = frozenset(("tasks", "checkpoints"))
"""The modes that make up the mode ``debug``."""


class Channel:
    """A queue of chunks with one reader, who may be a thread or an event loop.

    Args:
        modes: the stream modes that the reader wants.
        tagged: whether chunks come as ``(mode, chunk)``.
        nested: whether those of nested workflows come too, and every chunk with its namespace in front.
        version: ``"v2"`` for chunks as dicts that say all that.
    """

    def __init__(
        self, modes: frozenset[str], *, tagged: bool = False, nested: bool = False, version: str = "v1"
    ) -> None:
        self.modes = modes
        self._heard = modes | DEBUGGED if "debug" in modes else modes
        self._tagged = tagged
        self._nested = nested
        self._version = version
        self._is_bare = version == "v1" and not tagged and not nested  # chunks come as they are
        self._step = 0  # of the tasks, for the mode debug
        self._chunks: list[Any] = []  # writers add to its end without a lock
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._patience = 1  # chunks that may wait before a writer on a thread looks whether its reader gets to run
        self._calm = -1  # how many may wait before the one who adds another has to `_attend` to that
        self._draining: list[Callable[[], None]] = []  # wakes those who wait for room on event loops
        self._asleep = False  # the reader waits to be woken
        self._wake: Callable[[], object] = _nobody
        self._met: set[str] = set()  # the ids of what was shown, whole or in pieces
        self._closed = False  # nothing more will be written
        self._left = False  # nobody reads any more

    # Writing.

    def hears(self, mode: str, namespace: tuple[str, ...]) -> bool:
        """Whether the reader wants chunks of a mode that are written there."""
        return mode in self._heard and (not namespace or self._nested or mode in WRITTEN)

    def meets(self, mode: str, namespace: tuple[str, ...], piece_of: str, whole: str) -> bool:
        """Whether a piece of something, or the whole of it, is still to be shown; from now on it was met."""
        if not self.hears(mode, namespace):
            return False
        with self._lock:
            if whole in self._met:
                return False
            self._met.add(whole or piece_of)
            return True

    def put(self, mode: str, namespace: tuple[str, ...], chunk: Any) -> None:
        """Hand a chunk over. On a thread this waits while the buffer is full."""
        if not self.hears(mode, namespace):
            return
        if mode in self.modes:
            self._add(chunk if self._is_bare and type(chunk) is not Asked else self._shaped(mode, namespace, chunk))
        if mode in DEBUGGED and "debug" in self.modes:
            self._add(self._shaped("debug", namespace, self._debugged(mode, chunk)))  # pyright: ignore[reportArgumentType]

    def sink(self, mode: str, namespace: tuple[str, ...]) -> Callable[[Any], None]:
        """What takes the chunks that a body writes in one mode: `put`, without what is the same for all of them."""
        if mode not in self.modes or mode in DEBUGGED:
            return partial(self.put, mode, namespace)
        add, shaped = self._adder(), self._shaped
        return add if self._is_bare else lambda chunk: add(shaped(mode, namespace, chunk))

    def close(self) -> None:
        """Say that nothing more will come."""
        with self._lock:
            self._closed = True
            asleep, self._asleep = self._asleep, False
        if asleep:
            self._wake()

    def is_full(self) -> bool:
        """Whether a writer on an event loop should let the reader catch up."""
        return len(self._chunks) >= CAPACITY and not self._left

    async def room(self) -> None:
        """Let the event loop run until the reader has caught up."""
        while self.is_full():
            event = asyncio.Event()
            host = LoopHost.of(asyncio.get_running_loop())
            with self._lock:
                if not self.is_full():
                    return
                self._draining.append(partial(_set, event, host))
            await event.wait()

    def _add(self, item: Any) -> None:
        self._adder()(item)

    def _adder(self) -> Callable[[Any], None]:
        """What adds a chunk to the buffer: a function with all it needs at hand, since it is called for every chunk."""
        chunks, append = self._chunks, self._chunks.append

        def add(item: Any) -> None:
            append(item)
            if len(chunks) > self._calm:
                self._attend()

        return add

    def _attend(self) -> None:
        """A chunk was added, and the reader waits for one, has many before it, or has left."""
        with self._lock:
            if self._left:
                self._chunks.clear()
                return
            asleep, self._asleep = self._asleep, False
            if asleep:
                self._calm = self._patience
            elif len(self._chunks) > self._patience:
                if asyncio._get_running_loop() is None:
                    self._give_way()
                else:  # which nobody may block: others are asked to wait at twice as many
                    self._calm = 2 * len(self._chunks)
        if asleep:
            self._wake()

    def _give_way(self) -> None:
        """Wait for the reader: until there is room, and before there are many chunks only to let it begin.

        A thread that is woken runs once the one that woke it waits, or after the interpreter's switch interval: without
        this the first chunk of a burst would arrive with the last one that the buffer holds.
        """
        if self._patience < CAPACITY:
            self._patience *= 2
            self._calm = self._patience
            self._room.wait(GIVE_WAY)
        self._room.wait_for(lambda: len(self._chunks) <= CAPACITY or self._left)

    def _shaped(self, mode: str, namespace: tuple[str, ...], chunk: Any) -> Any:
        if self._version == "v2":
            return _part(mode, namespace, chunk)
        if isinstance(chunk, Asked):
            chunk = chunk.as_value(chunk.questions) if mode == "values" else {"__interrupt__": chunk.questions}
        if self._nested:
            return (namespace, mode, chunk) if self._tagged else (namespace, chunk)
        return (mode, chunk) if self._tagged else chunk

    def _debugged(self, mode: str, payload: dict[str, Any]) -> dict[str, Any]:
        if mode == "checkpoints":
            kind, step = "checkpoint", payload["metadata"]["step"]
            self._step = step + 1
        else:
            kind, step = ("task" if "input" in payload else "task_result"), self._step
        return {"step": step, "timestamp": datetime.now(UTC).isoformat(), "type": kind, "payload": payload}

    # Reading.

    def leave(self) -> None:
        """Read no more; whoever waits to write goes on."""
        with self._lock:
            self._left = True
            self._calm = -1
            self._chunks.clear()
            self._let_write()

    def batches(self) -> Iterator[list[Any]]:
        """The chunks as they come, for a reader on a thread; all that are there at once."""
        signal: SimpleQueue[None] = SimpleQueue()
        self._wake = partial(signal.put, None)
        while True:
            ready, ended = self._take()
            yield ready
            if ended:
                return
            if not ready:
                signal.get()

    async def abatches(self) -> AsyncIterator[list[Any]]:
        """The same for a reader on an event loop."""
        event, host = asyncio.Event(), LoopHost.of(asyncio.get_running_loop())
        self._wake = partial(_set, event, host)
        while True:
            ready, ended = self._take()
            yield ready
            if ended:
                return
            if not ready:
                await event.wait()
                event.clear()

    def _take(self) -> tuple[list[Any], bool]:
        """All that is there, and whether it was the last; without any, the reader is to be woken."""
        chunks = self._chunks
        with self._lock:
            ended = self._closed
            if not chunks and not ended:
                self._calm = -1  # before looking again: whoever has added a chunk by then is seen here, or sees this
            count = len(chunks)
            ready = chunks[:count]
            del chunks[:count]
            self._asleep = not ready and not ended
            if not self._asleep:
                self._calm = self._patience
            self._let_write()
            return ready, ended

    def _let_write(self) -> None:
        self._room.notify_all()
        for wake in self._draining:
            wake()
        self._draining.clear()


def _nobody() -> None:
    """There is no reader yet."""


def _set(event: asyncio.Event, host: LoopHost) -> None:
    if asyncio._get_running_loop() is host.loop:
        event.set()
    else:
        host.post(event.set)


def _part(mode: str, namespace: tuple[str, ...], chunk: Any) -> dict[str, Any]:
    """A chunk of version 2."""
    if mode == "values":
        asked = isinstance(chunk, Asked)
        value, questions = (chunk.value or None, chunk.questions) if asked else (chunk, ())
        return {"type": mode, "ns": namespace, "data": value, "interrupts": questions}
    if isinstance(chunk, Asked):
        chunk = {"__interrupt__": chunk.questions}
    return {"type": mode, "ns": namespace, "data": chunk}


def writer_of(call: TaskFuture[Any], mode: str = "custom") -> StreamWriter:
    """Hands what a body says in one mode to whoever streams the run; see `durably.types.StreamWriter`.

    It is a function with an attribute: one is called in a third of the time of an object that can be. Where the chunks go
    stays the same while the body runs, so where that is all there is to it, a body that asks again gets the same one.
    """
    known = call.writers.get(mode)
    if known is not None:
        return known
    taps = call.env.taps
    does_more = mode == "values" or call.run.options.durable_stream or _is_timed(call)  # than hand it over
    if does_more:
        return _drained(partial(call.write, mode=mode), taps)
    if not taps:
        return SILENCE
    sinks = call.env.sinks(mode)
    writer = _drained(sinks[0] if len(sinks) == 1 else partial(_write_to, sinks), taps)
    call.writers = {**call.writers, mode: writer}
    return writer


def _is_timed(call: TaskFuture[Any]) -> bool:
    """Whether the body, or one around it, is to be stopped after some time, so that each chunk is a sign of life."""
    return any(body.function.policies.timeout is not None for body in call.lineage())


def _drained(write: Any, taps: tuple[tuple[Channel, int], ...]) -> StreamWriter:
    write.drain = partial(_drain, taps)
    return write  # type: ignore[no-any-return]


def _write_to(sinks: tuple[Callable[[Any], None], ...], chunk: Any) -> None:
    for sink in sinks:
        sink(chunk)


async def _drain(taps: tuple[tuple[Channel, int], ...]) -> None:
    for channel, _ in taps:
        await channel.room()


def _ignore(chunk: Any) -> None:
    """Nobody wants it."""


SILENCE: Final = _drained(_ignore, ())
