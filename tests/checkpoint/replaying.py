"""What the tests of replay share: a ledger of what ran, and a checkpointer that fails when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from durably.checkpoint.base import Chunk, RunRow, Work
from durably.checkpoint.memory import InMemorySaver
from durably.engine.journal import Record, decode_records
from durably.errors import StorageError


class Boom(Exception):
    """What failing tasks raise."""


class Ledger:
    """Notes what ran, and which calls are to fail."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: list[Any] = []
        self.failing: set[Any] = set()

    def note(self, what: Any) -> Any:
        """Something ran; or fails, while it is told to."""
        if what in self.failing:
            raise Boom(what)
        with self._lock:
            self._done.append(what)
        return what

    def take(self) -> list[Any]:
        """What ran since the last time, in order."""
        with self._lock:
            taken, self._done = self._done, []
        return taken


class FaultySaver(InMemorySaver):
    """A checkpointer whose storage outlives it, and which fails at a given write.

    Args:
        before: whose storage it takes over, as the next process does after one was killed.
        fails_at: the number of the transaction that fails, from 1; None for none.
        dead: whether it fails from then on for ever, as if the process were gone.
    """

    def __init__(self, before: FaultySaver | None = None, *, fails_at: int | None = None, dead: bool = False) -> None:
        super().__init__()
        if before is not None:
            self._tables = before._tables
            self._tables.owners.clear()  # nobody who held a thread is alive
        self.fails_at = fails_at
        self.dead = dead
        self.writes = 0
        self.on_write: Callable[[int], None] = lambda number: None

    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        self._count()
        return super().transact(works, durable=durable)

    def append(self, chunks: Sequence[Chunk], *, durable: bool = False) -> list[bool]:
        self._count()
        return super().append(chunks, durable=durable)

    def _count(self) -> None:
        self.writes += 1
        if self.fails_at is not None and (self.writes == self.fails_at or (self.dead and self.writes > self.fails_at)):
            raise StorageError(f"write {self.writes} fails")
        self.on_write(self.writes)

    def run_of(self, thread_id: str) -> RunRow:
        """A thread's current run."""
        run = self._tables.open(thread_id).run
        assert run is not None
        return run

    def journal(self, thread_id: str) -> list[Record]:
        """What that run has recorded."""
        found = self._tables.open(thread_id).run
        return [] if found is None else decode_records(self._tables.records(found.no))


def questions(result: Any) -> dict[Any, str]:
    """The ids of the questions that an invocation ended with, by what they ask."""
    return {question.value: question.id for question in result["__interrupt__"]}
