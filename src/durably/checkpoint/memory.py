"""Threads and runs in this process's memory: for tests and for workflows that only need to outlive a question."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import DurablyError
from ..serde import Serializer, TypedSerializer
from .base import BaseCheckpointer, Chunk, Opened, OwnerRow, RunRow, ThreadRow, Work

__all__ = ["InMemorySaver", "MemorySaver"]


class _Tables:
    """All rows, and the operations of a `Transaction` on them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.threads: dict[int, ThreadRow] = {}
        self.runs: dict[int, RunRow] = {}
        self.journals: defaultdict[int, list[bytes]] = defaultdict(list)
        self.owners: dict[str, OwnerRow] = {}

    def open(self, thread_id: str) -> Opened:
        thread = self.threads.get(self.numbers.get(thread_id, 0))
        if thread is None:
            return Opened()
        head = self.runs.get(thread.head_no)
        saved = None if head is None or head.saved is None else (head.run_id, head.saved)
        return Opened(thread, self.runs.get(thread.run_no), saved)

    def records(self, run_no: int) -> list[bytes]:
        return list(self.journals[run_no])

    def put_thread(self, row: ThreadRow) -> ThreadRow:
        if not row.no:
            row = replace(row, no=len(self.numbers) + 1)
            self.numbers[row.thread_id] = row.no
        self.threads[row.no] = row
        return row

    def put_run(self, row: RunRow) -> RunRow:
        if not row.no:
            row = replace(row, no=len(self.runs) + 1)
        self.runs[row.no] = row
        return row

    def append(self, chunk: Chunk) -> bool:
        if self.fence(chunk.thread_no) != chunk.fence:
            return False
        self.journals[chunk.run_no].append(chunk.data)
        return True

    def fence(self, thread_no: int) -> int:
        thread = self.threads.get(thread_no)
        return 0 if thread is None else thread.fence

    def owner(self, owner: str) -> OwnerRow | None:
        return self.owners.get(owner)

    def put_owner(self, row: OwnerRow) -> None:
        self.owners[row.owner] = row


class InMemorySaver(BaseCheckpointer):
    """Keeps threads and runs in this process's memory, encoded as a database would keep them.

    Args:
        serde: turns values into bytes and back; by default a `TypedSerializer`.

    >>> from durably.func import entrypoint
    >>> @entrypoint(checkpointer=InMemorySaver())
    ... def count(step: int, *, previous: int = 0) -> int:
    ...     return previous + step
    >>> count.invoke(1, thread_id="a"), count.invoke(5, thread_id="a"), count.invoke(1, thread_id="b")
    (1, 6, 1)
    """

    def __init__(self, *, serde: Serializer | None = None) -> None:
        self.serde = serde or TypedSerializer()
        self._tables = _Tables()
        self._lock = threading.Lock()

    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        """See `BaseCheckpointer.transact`; ``durable`` means nothing here."""
        with self._lock:
            return [self._attempt(work) for work in works]

    def append(self, chunks: Sequence[Chunk], *, durable: bool = False) -> list[bool]:
        """See `BaseCheckpointer.append`."""
        with self._lock:
            return [self._tables.append(chunk) for chunk in chunks]

    def _attempt(self, work: Work) -> Any:
        try:
            return work(self._tables)
        except DurablyError as error:
            return error


MemorySaver = InMemorySaver
"""The name that ported programs import."""
