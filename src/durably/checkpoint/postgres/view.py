"""A work's view of the database: what it reads comes from memory, what it writes is kept until all works are through.

A work is an ordinary function, so it cannot wait for an answer together with other works. It is *run again* instead: what
it asks for and is not in memory yet stops it (`Missing`), what all works of a transaction miss is read in one round trip,
and all run from the top once more. That is how durable workflows run too, and it is sound for the same reason: works decide
by what they read alone. A work that has a transaction for itself is given its answers on the spot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from ..rows import Chunk, Opened, OwnerRow, RunRow, ThreadQuery, ThreadRow
from .reading import Memory, Want
from .tables import text

__all__ = ["Dirty", "Missing", "View", "Writes"]


COLLECTED: Final = (
    *("threads", "runs", "saves", "owners", "versions", "ends"),
    *("new_threads", "new_runs", "dead_runs", "dead_threads", "touched", "names", "changed", "appended"),
)


class Missing(BaseException):
    """A work asked for what has not been read yet. No ``except Exception`` of a work may catch it."""

    def __init__(self, want: Want) -> None:
        super().__init__(want)
        self.want = want


class Dirty(BaseException):
    """A work asked for what has been written in this transaction, which only the database can put together."""


@dataclass(slots=True)
class Writes:
    """What works want to have written, and what they read of the threads concerned."""

    threads: dict[int, ThreadRow] = field(default_factory=dict)
    new_threads: set[int] = field(default_factory=set)
    runs: dict[int, RunRow] = field(default_factory=dict)
    new_runs: set[int] = field(default_factory=set)
    saves: dict[int, tuple[bytes | None, int]] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)
    owners: dict[str, OwnerRow] = field(default_factory=dict)
    dead_runs: set[int] = field(default_factory=set)
    dead_threads: set[int] = field(default_factory=set)

    touched: set[int] = field(default_factory=set)
    """The numbers of the threads that something is written to; likewise their names, and the numbers of runs."""
    names: set[str] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)
    appended: set[int] = field(default_factory=set)
    """The numbers of the runs whose journals grow."""

    forget_before: float | None = None
    """Up to when the leases of processes ended that are to be forgotten."""

    versions: dict[int, int] = field(default_factory=dict)
    """The versions of threads that were read; likewise fences, and how many chunks the journals of runs had."""
    fences: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.touched or self.changed or self.owners or self.forget_before is not None)

    @property
    def untold(self) -> set[int]:
        """The threads that become another version although their own rows are not written.

        A thread is another version when one of its runs is: what was read of it is not what is there any more.
        """
        threads = {run.thread_no for run in self.runs.values()}
        if self.dead_runs or self.saves:
            threads.update(self.versions)
        return threads - self.threads.keys()

    def add(self, other: Writes) -> None:
        """Take in what a later work writes."""
        for name in COLLECTED:
            if more := getattr(other, name):
                getattr(self, name).update(more)
        self.fences = {**other.fences, **self.fences}  # what was found first is what the database has
        self.chunks += other.chunks
        if other.forget_before is not None:
            self.forget_before = other.forget_before

    def hides(self, want: Want, found: Any) -> bool:
        """Whether what was read is not what is there after these writes."""
        kind, changed = want[0], self.changed
        if not self:
            return False
        if kind == "owner":
            return self.forget_before is not None
        if kind == "thread":
            return want[1] in self.dead_threads
        if kind == "open":
            run_no = 0 if found.run is None else found.run.no
            return want[1] in self.names or run_no in changed or (found.thread or NO_THREAD).no in self.touched
        if kind in ("run", "find_run", "find_key"):
            return bool(self.new_runs) if found is None else found.no in changed
        if kind == "bases":
            return any(run.no in changed for run in found)
        if kind == "records":
            return want[1] in changed or want[1] in self.appended
        if kind == "runs":
            return want[1] in self.touched or not changed.isdisjoint(run.no for run in found)
        return True


NO_THREAD: Final = ThreadRow(0, "")


class View:
    """A `Transaction` for one work.

    Args:
        memory: what has been read.
        before: what works before this one write in the same transaction.
        known: threads as this process wrote them last, with their versions; trusted where the database checks that later.
        read: reads on the spot, None where the work is to be run again.
        flush: sends writes on the spot, so that what was written can be read.
    """

    def __init__(
        self,
        memory: Memory,
        before: Writes,
        known: dict[int, tuple[ThreadRow, int]],
        *,
        read: Callable[[Want], None] | None = None,
        flush: Callable[[Writes], None] | None = None,
    ) -> None:
        self.memory = memory
        self.writes = Writes()
        self.guesses: list[Want] = []
        self._before = before
        self._known = known
        self._read = read
        self._flush = flush

    # Reading.

    def open(self, thread_id: str) -> Opened:
        opened: Opened = self._get(("open", text(thread_id, "thread id")))
        self._saw(opened.thread)
        return opened

    def run(self, run_no: int) -> RunRow | None:
        return self._get(("run", run_no))  # type: ignore[no-any-return]

    def saved_bases(self, run_no: int) -> list[RunRow]:
        return list(self._get(("bases", run_no)))

    def find_run(self, run_id: str) -> RunRow | None:
        run: RunRow | None = self._get(("find_run", text(run_id, "run id")))
        if run is not None and run.thread_no in self.memory.versions:
            self.writes.versions[run.thread_no] = self.memory.versions[run.thread_no]
        return run

    def find_key(self, thread_no: int, key: str) -> RunRow | None:
        return self._get(("find_key", thread_no, text(key, "idempotency key")))  # type: ignore[no-any-return]

    def runs(self, thread_no: int, before: int, limit: int) -> list[RunRow]:
        return list(self._get(("runs", thread_no, before, limit)))

    def due(self, workflows: Sequence[str], now: float, limit: int) -> list[tuple[ThreadRow, RunRow]]:
        if self._read is None:
            raise Dirty  # what locks is read in a transaction of its own
        names = [text(name, "workflow's name") for name in workflows]
        found = [pair for name in names for pair in self._get(("due", name, now, limit))]
        pairs = sorted(found, key=lambda pair: pair[1].due or 0.0)[:limit]
        for thread, _ in pairs:
            self._saw(thread)
        return pairs

    def waiting(self, thread_no: int, after: int) -> RunRow | None:
        return self._get(("waiting", thread_no, after))  # type: ignore[no-any-return]

    def holders(self) -> list[OwnerRow]:
        return list(self._get(("holders",)))

    def held(self, owner: str) -> list[tuple[ThreadRow, RunRow]]:
        pairs: list[tuple[ThreadRow, RunRow]] = list(self._get(("held", owner)))
        for thread, _ in pairs:
            self._saw(thread)
        return pairs

    def threads(self, query: ThreadQuery, before: int, limit: int) -> list[tuple[ThreadRow, RunRow]]:
        query = replace(query, workflow=text(query.workflow, "workflow's name"))
        return list(self._get(("threads", query, before, limit)))

    def thread_nos(self, after: int, limit: int) -> list[tuple[int, str]]:
        return list(self._get(("thread_nos", after, limit)))

    def records(self, run_no: int, after: int = 0) -> list[bytes]:
        chunks = list(self._get(("records", run_no, after)))
        if not after:
            self.writes.ends[run_no] = len(chunks)
        return chunks

    def thread(self, thread_no: int) -> ThreadRow | None:
        row, version = self._thread(thread_no)
        if row is not None and version is not None:
            self.writes.versions[thread_no] = version
        return row

    def _thread(self, thread_no: int) -> tuple[ThreadRow | None, int | None]:
        """A thread, and its version; None where this transaction has written it."""
        for writes in (self.writes, self._before):
            if thread_no in writes.threads and thread_no not in writes.dead_threads:
                return writes.threads[thread_no], None
        want = ("thread", thread_no)
        if thread_no in self._known and want not in self.memory.found:
            self.guesses.append(want)
            return self._known[thread_no]
        row = self._get(want)
        return row, self.memory.versions.get(thread_no)

    def owner(self, owner: str) -> OwnerRow | None:
        for writes in (self.writes, self._before):
            if owner in writes.owners and writes.forget_before is None:
                return writes.owners[owner]
        return self._get(("owner", owner))  # type: ignore[no-any-return]

    def _get(self, want: Want) -> Any:
        found = self._recall(want)
        if self._before.hides(want, found):
            raise Dirty
        if self.writes.hides(want, found):
            if self._flush is None:
                raise Dirty
            self._flush(self.writes)
            self.writes, self._known = Writes(), {}
            found = self._recall(want)
        return found

    def _recall(self, want: Want) -> Any:
        if want not in self.memory.found:
            if self._read is None:
                raise Missing(want)
            self._read(want)
        return self.memory.found[want]

    def _saw(self, thread: ThreadRow | None) -> None:
        if thread is not None:
            self.writes.versions[thread.no] = self.memory.versions[thread.no]

    def finish(self) -> Writes:
        """What the work writes, now that it is through.

        Raises:
            Missing: it trusted in what was known, and writes nothing that would check it.
        """
        if self.guesses and not self.writes:
            raise Missing(self.guesses[0])
        return self.writes

    # Writing.

    def put_thread(self, row: ThreadRow) -> ThreadRow:
        name = text(row.thread_id, "thread id")
        if not row.no:
            row = replace(row, no=self._number())
            self.writes.new_threads.add(row.no)
        self.writes.names.add(name)
        self.writes.touched.add(row.no)
        self.writes.threads[row.no] = row
        return row

    def put_run(self, row: RunRow) -> RunRow:
        text(row.key, "idempotency key")
        text(row.workflow, "workflow's name")
        if not row.no:
            row = replace(row, no=self._number())
            self.writes.new_runs.add(row.no)
        self.writes.touched.add(row.thread_no)
        self.writes.changed.add(row.no)
        self.writes.runs[row.no] = row
        return row

    def save(self, run_no: int, saved: bytes | None, saved_base: int) -> None:
        self.writes.changed.add(run_no)
        self.writes.saves[run_no] = (saved, saved_base)

    def delete_runs(self, run_nos: Sequence[int]) -> None:
        self.writes.changed.update(run_nos)
        self.writes.dead_runs.update(run_nos)

    def delete_thread(self, thread_no: int) -> None:
        self.writes.touched.add(thread_no)
        self.writes.dead_threads.add(thread_no)

    def append(self, chunk: Chunk) -> bool:
        row, version = self._thread(chunk.thread_no)
        if row is None or row.fence != chunk.fence:
            return False
        if version is not None:
            self.writes.fences[chunk.thread_no] = chunk.fence
        self.writes.touched.add(chunk.thread_no)
        self.writes.appended.add(chunk.run_no)
        self.writes.chunks.append(chunk)
        return True

    def put_owner(self, row: OwnerRow) -> None:
        self.writes.owners[row.owner] = row

    def delete_owners(self, before: float) -> None:
        self.writes.forget_before = before

    def _number(self) -> int:
        """A number for a new row, higher than any that is in use."""
        memory = self.memory
        while memory.taken == len(memory.spare):
            if self._read is None:
                raise Missing(("numbers", id(self)))
            self._read(("numbers", id(self)))
        memory.taken += 1
        return memory.spare[memory.taken - 1]
