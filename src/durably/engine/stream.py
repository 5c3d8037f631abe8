"""From those who write chunks to the one who reads them, bounded in between."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from .loops import LoopHost

__all__ = ["Channel"]

CAPACITY: Final = 1024
"""Chunks that may wait for the reader before writers wait for it."""


class Channel:
    """A queue of chunks with one reader, who may be a thread or an event loop.

    Args:
        modes: the stream modes that the reader wants.
        tagged: whether chunks come as ``(mode, chunk)``.
        nested: whether those of nested workflows come too, and every chunk with its namespace in front.
    """

    def __init__(self, modes: frozenset[str], *, tagged: bool = False, nested: bool = False) -> None:
        self.modes = modes
        self._tagged = tagged
        self._nested = nested
        self._chunks: deque[Any] = deque()
        self._changed = threading.Condition()
        self._closed = False  # nothing more will be written
        self._left = False  # nobody reads any more
        self._reader: tuple[LoopHost, asyncio.Event] | None = None

    # Writing.

    def put(self, mode: str, namespace: tuple[str, ...], chunk: Any) -> None:
        """Hand a chunk over. On a thread this waits while the buffer is full."""
        if mode not in self.modes or (namespace and not self._nested and mode != "custom"):
            return
        item = self._shaped(mode, namespace, chunk)
        with self._changed:
            if len(self._chunks) >= CAPACITY and asyncio._get_running_loop() is None:
                self._changed.wait_for(lambda: len(self._chunks) < CAPACITY or self._left)
            if self._left or self._closed:
                return
            self._chunks.append(item)
            if len(self._chunks) == 1:
                self._tell_reader()

    def close(self) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._closed = True
            self._tell_reader()

    @property
    def full(self) -> bool:
        """Whether a writer on an event loop should let the reader catch up."""
        return len(self._chunks) >= CAPACITY and not self._left

    async def room(self) -> None:
        """Let the event loop run until the reader has caught up."""
        while self.full:
            await asyncio.sleep(0.001)

    def _shaped(self, mode: str, namespace: tuple[str, ...], chunk: Any) -> Any:
        if self._nested:
            return (namespace, mode, chunk) if self._tagged else (namespace, chunk)
        return (mode, chunk) if self._tagged else chunk

    def _tell_reader(self) -> None:
        self._changed.notify_all()
        if self._reader is not None:
            host, event = self._reader
            if asyncio._get_running_loop() is host.loop:
                event.set()
            else:
                host.post(event.set)

    # Reading.

    def leave(self) -> None:
        """Read no more; whoever waits to write goes on."""
        with self._changed:
            self._left = True
            self._chunks.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Any]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or self._closed)
                ready = self._take()
            if not ready:
                return
            yield from ready

    async def __aiter__(self) -> AsyncIterator[Any]:
        event = asyncio.Event()
        self._reader = (LoopHost.of(asyncio.get_running_loop()), event)
        while True:
            event.clear()
            with self._changed:
                ready = self._take()
                ended = self._closed
            for chunk in ready:
                yield chunk
            if not ready:
                if ended:
                    return
                await event.wait()

    def _take(self) -> list[Any]:
        ready = list(self._chunks)
        self._chunks.clear()
        self._changed.notify_all()
        return ready
