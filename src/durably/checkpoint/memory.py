"""Threads and runs in this process's memory: for tests and for workflows that only need to outlive a question."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import count, islice
from typing import Any

from msgspec.structs import replace

from ..errors import DurablyError
from ..serde import Serializer, TypedSerializer
from .base import BaseCheckpointer, Chunk, Opened, OwnerRow, RunRow, ThreadQuery, ThreadRow, Work

__all__ = ["InMemorySaver", "MemorySaver"]


class _Tables:
    """All rows, and the operations of a `Transaction` on them."""

    def __init__(self) -> None:
        self.new_number = count(1)
        self.numbers: dict[str, int] = {}
        self.threads_by_no: dict[int, ThreadRow] = {}
        self.runs_by_no: dict[int, RunRow] = {}
        self.run_numbers: dict[str, int] = {}
        self.runs_of: defaultdict[int, list[int]] = defaultdict(list)
        self.keys: dict[tuple[int, str], int] = {}
        self.journals: defaultdict[int, list[bytes]] = defaultdict(list)
        self.owners: dict[str, OwnerRow] = {}
        self.due_runs: set[int] = set()
        self.made_due = 0  # how often

    def open(self, thread_id: str) -> Opened:
        thread = self.threads_by_no.get(self.numbers.get(thread_id, 0))
        if thread is None:
            return Opened()
        head = self.runs_by_no.get(thread.head_no)
        saved = None if head is None or head.saved is None else (head.run_id, head.saved)
        return Opened(thread, self.runs_by_no.get(thread.run_no), saved)

    def run(self, run_no: int) -> RunRow | None:
        return self.runs_by_no.get(run_no)

    def saved_bases(self, run_no: int) -> list[RunRow]:
        bases: list[RunRow] = []
        run = self.runs_by_no.get(run_no)
        while run is not None and (run := self.runs_by_no.get(run.saved_base)) is not None:
            bases.append(run)
        return bases

    def save(self, run_no: int, saved: bytes | None, saved_base: int) -> None:
        self.runs_by_no[run_no] = replace(self.runs_by_no[run_no], saved=saved, saved_base=saved_base)

    def delete_runs(self, run_nos: Sequence[int]) -> None:
        for run_no in run_nos:
            run = self.runs_by_no.pop(run_no)
            del self.run_numbers[run.run_id]
            self.keys.pop((run.thread_no, run.key), None)
            self.runs_of[run.thread_no].remove(run_no)
            self.journals.pop(run_no, None)
            self.due_runs.discard(run_no)

    def delete_thread(self, thread_no: int) -> None:
        del self.numbers[self.threads_by_no.pop(thread_no).thread_id]
        self.runs_of.pop(thread_no, None)

    def thread_nos(self, after: int, limit: int) -> list[tuple[int, str]]:
        return [(no, self.threads_by_no[no].thread_id) for no in sorted(self.threads_by_no) if no > after][:limit]

    def find_run(self, run_id: str) -> RunRow | None:
        return self.runs_by_no.get(self.run_numbers.get(run_id, 0))

    def find_key(self, thread_no: int, key: str) -> RunRow | None:
        return self.runs_by_no.get(self.keys.get((thread_no, key), 0))

    def runs(self, thread_no: int, before: int, limit: int) -> list[RunRow]:
        numbers = self.runs_of[thread_no]
        wanted = numbers[: bisect_left(numbers, before)][::-1][:limit]
        return [self.runs_by_no[no] for no in wanted]

    def due(self, workflows: Sequence[str], now: float, limit: int) -> list[tuple[ThreadRow, RunRow]]:
        due = sorted((self.runs_by_no[no].due or 0.0, no) for no in self.due_runs)
        runs = (self.runs_by_no[no] for when, no in due if when <= now)
        pairs = ((self.threads_by_no[run.thread_no], run) for run in runs if run.workflow in workflows)
        return list(islice(((thread, run) for thread, run in pairs if not thread.owner), limit))

    def waiting(self, thread_no: int, after: int) -> RunRow | None:
        runs = (self.runs_by_no[no] for no in self.runs_of[thread_no] if no > after)
        return next((run for run in runs if run.status == "pending"), None)

    def holders(self) -> list[OwnerRow]:
        names = sorted({thread.owner for thread in self.threads_by_no.values()} - {""})
        return [self.owners.get(name) or OwnerRow(name, "", 0.0) for name in names]

    def held(self, owner: str) -> list[tuple[ThreadRow, RunRow]]:
        threads = (thread for thread in self.threads_by_no.values() if thread.owner == owner and thread.run_no)
        return [(thread, self.runs_by_no[thread.run_no]) for thread in threads]

    def threads(self, query: ThreadQuery, before: int, limit: int) -> list[tuple[ThreadRow, RunRow]]:
        current = ((thread, self.runs_by_no[thread.run_no]) for thread in self.threads_by_no.values() if thread.run_no)
        found = [
            (thread, run)
            for thread, run in current
            if run.no < before
            and run.workflow == query.workflow
            and query.status in ("", run.status)
            and query.since <= run.updated_at < query.until
        ]
        return sorted(found, key=lambda pair: -pair[1].no)[:limit]

    def records(self, run_no: int, after: int = 0) -> list[bytes]:
        return self.journals[run_no][after:]

    def put_thread(self, row: ThreadRow) -> ThreadRow:
        if not row.no:
            row = replace(row, no=next(self.new_number))
            self.numbers[row.thread_id] = row.no
        self.threads_by_no[row.no] = row
        return row

    def put_run(self, row: RunRow) -> RunRow:
        if not row.no:
            row = replace(row, no=next(self.new_number))
            self.run_numbers[row.run_id] = row.no
            self.runs_of[row.thread_no].append(row.no)
            if row.key:
                self.keys[row.thread_no, row.key] = row.no
        self.runs_by_no[row.no] = row
        if row.due is None:
            self.due_runs.discard(row.no)
        else:
            self.due_runs.add(row.no)
            self.made_due += 1
        return row

    def append(self, chunk: Chunk) -> bool:
        thread = self.threads_by_no.get(chunk.thread_no)
        if thread is None or thread.fence != chunk.fence:
            return False
        self.journals[chunk.run_no].append(chunk.data)
        return True

    def thread(self, thread_no: int) -> ThreadRow | None:
        return self.threads_by_no.get(thread_no)

    def owner(self, owner: str) -> OwnerRow | None:
        return self.owners.get(owner)

    def put_owner(self, row: OwnerRow) -> None:
        self.owners[row.owner] = row

    def delete_owners(self, before: float) -> None:
        holding = {thread.owner for thread in self.threads_by_no.values()}
        kept = (row for row in self.owners.values() if row.until >= before or row.owner in holding)
        self.owners = {row.owner: row for row in kept}


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
        self._listeners: list[Callable[[], None]] = []

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        """See `BaseCheckpointer.listen`."""
        self._listeners.append(heard)
        return lambda: self._listeners.remove(heard)

    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        """See `BaseCheckpointer.transact`; ``durable`` means nothing here."""
        with self._lock:
            before = self._tables.made_due
            results = [self._attempt(work) for work in works]
            news = self._tables.made_due != before
        for heard in list(self._listeners) if news else ():
            heard()
        return results

    def read(self, work: Work) -> Any:
        """See `BaseCheckpointer.read`."""
        with self._lock:
            return work(self._tables)

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
