"""The contract between the engine and a database.

A backend stores three kinds of rows and decides nothing. *Threads* say which run is the current one, who holds it and
under which fence. *Runs* say what was asked for and how it ended. *Chunks* are pieces of a run's journal: encoded records
whose content is the engine's business. What a run's start or end means is written once, in `durably.engine.lifecycle`,
as functions of a `Transaction`; so a backend is a handful of statements, and all backends behave alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec

__all__ = [
    "CHANGING",
    "UNREADABLE",
    "Away",
    "Busy",
    "Chunk",
    "Opened",
    "OwnerRow",
    "RunRow",
    "Status",
    "ThreadQuery",
    "ThreadRow",
    "Transaction",
    "Uncertain",
    "Work",
    "new_thread",
]

UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding damaged bytes raises: ValueError for text that is no text."""

Status: TypeAlias = Literal[
    "pending", "running", "sleeping", "asked", "failed", "stopped", "done", "abandoned", "cancelled", "undone"
]
"""How a run stands.

``pending`` was accepted and waits for its turn; ``sleeping`` waits for a moment to come. These, ``asked``, ``failed``,
``stopped`` and, where its process died, ``running`` can be gone on with. ``abandoned`` was left behind by a new input;
``cancelled`` was ended by somebody; ``undone`` was rolled back, and the thread's history passes over it.
"""


# Rows hold no containers, so no circle can go through them: the garbage collector need not look at them.


class ThreadRow(msgspec.Struct, frozen=True, gc=False):
    """A thread: its current run, and who may write.

    Args:
        no: the backend's number for it, 0 before it is stored.
        thread_id: the user's name for it.
        fence: counts the attempts that have held the thread; a write carries it and is refused when it is stale.
        run_no: the thread's current or latest run, 0 where there is none.
        head_no: the run whose ``saved`` value is the thread's ``previous``, 0 where there is none.
        owner: the process that holds the thread, empty when nobody does.
        since: when it was taken, in seconds since the epoch.
        next_no: the first of the runs that wait until the current one has ended, 0 where none does.
    """

    no: int
    thread_id: str
    fence: int = 0
    run_no: int = 0
    head_no: int = 0
    owner: str = ""
    since: float = 0.0
    next_no: int = 0


def new_thread(thread_id: str) -> ThreadRow:
    """A thread that has never been written.

    Its fences begin with the time in microseconds: a backend may give it the number of a thread that was deleted, and an
    attempt that is still under way there must not find its own fence again.
    """
    return ThreadRow(0, thread_id, fence=time.time_ns() // 1000)


class RunRow(msgspec.Struct, frozen=True, gc=False):
    """A run: what was asked for, and how it stands.

    Args:
        no: the backend's number for it, 0 before it is stored.
        run_id: its name, sortable by time.
        thread_no: the thread it is on.
        workflow: the name of the workflow that runs it.
        status: see `Status`.
        attempt: how many attempts have begun.
        created_at: seconds since the epoch; likewise ``updated_at``.
        parent: the checkpoint it came after, empty for a thread's first run.
        head: the encoded circumstances (durability, tags, metadata, ...).
        input: the encoded input.
        outcome: the encoded end (value, error, what to try again), None while it runs.
        saved: the encoded value that the thread's next run sees as ``previous``, None until there is one.
        base_no: the run whose ``saved`` value is this run's ``previous``, 0 where there is none.
        key: the caller's idempotency key, unique within the thread; empty where none was given.
        saved_no: counts the saved values that were built one upon the other; 0 where nothing is saved.
        saved_base: the run whose saved value this one is stored as a difference to, 0 where it is stored whole.
        due: from when on any process may go on with it, in seconds since the epoch; None where none is to. Only a thread's
            current run is due.
    """

    no: int
    run_id: str
    thread_no: int
    workflow: str
    status: Status
    attempt: int
    created_at: float
    updated_at: float
    parent: str
    head: bytes
    input: bytes
    outcome: bytes | None = None
    saved: bytes | None = None
    base_no: int = 0
    key: str = ""
    saved_no: int = 0
    saved_base: int = 0
    due: float | None = None


CHANGING: Final = (
    "status",
    "attempt",
    "updated_at",
    "parent",
    "head",
    "outcome",
    "saved",
    "base_no",
    "saved_no",
    "saved_base",
    "due",
)
"""The columns of a run that change after it was inserted."""


class OwnerRow(msgspec.Struct, frozen=True, gc=False):
    """A process that holds threads.

    Args:
        owner: its name.
        host: what identifies the process to its operating system.
        until: when its lease ends, in seconds since the epoch.
    """

    owner: str
    host: str
    until: float


class ThreadQuery(msgspec.Struct, frozen=True):
    """Which threads to list, by their current runs.

    Args:
        workflow: the workflow that runs them.
        status: how they stand, empty for any.
        since: when they last changed, from this moment, in seconds since the epoch.
        until: up to but without this one.
    """

    workflow: str
    status: str = ""
    since: float = 0.0
    until: float = float("inf")


class Opened(msgspec.Struct, frozen=True):
    """A thread as one read finds it.

    Args:
        thread: None where the thread has never been written.
        run: its current run, if it has one.
        saved: the stored value of ``previous``, if there is one.
    """

    thread: ThreadRow | None = None
    run: RunRow | None = None
    saved: tuple[str, bytes] | None = None


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Some records of one run, to be appended to its journal if the fence still holds."""

    thread_no: int
    fence: int
    run_no: int
    data: bytes


class Transaction(Protocol):
    """What can be read and written inside one transaction. It decides nothing and checks nothing but the fence."""

    def open(self, thread_id: str) -> Opened:
        """The thread, its current run and its ``previous``, in one read."""
        ...

    def run(self, run_no: int) -> RunRow | None:
        """The run of that number."""
        ...

    def saved_bases(self, run_no: int) -> list[RunRow]:
        """The runs that the saved value of a run is built upon: its base, that one's base, and so on."""
        ...

    def find_run(self, run_id: str) -> RunRow | None:
        """The run of that name."""
        ...

    def find_key(self, thread_no: int, key: str) -> RunRow | None:
        """The run on that thread that was started under an idempotency key."""
        ...

    def runs(self, thread_no: int, before: int, limit: int) -> list[RunRow]:
        """The runs of a thread with numbers below ``before``, latest first."""
        ...

    def due(self, workflows: Sequence[str], now: float, limit: int) -> list[tuple[ThreadRow, RunRow]]:
        """The runs of these workflows that are due by ``now``, on threads that nobody holds, those due first first.

        Each comes with its thread, both locked until the transaction ends: where several transactions may be under way at
        once, one passes over what another has locked.
        """
        ...

    def waiting(self, thread_no: int, after: int) -> RunRow | None:
        """The first pending run of a thread with a number above ``after``."""
        ...

    def holders(self) -> list[OwnerRow]:
        """The processes that hold threads; for one that has no row, a lease that ended at 0."""
        ...

    def held(self, owner: str) -> list[tuple[ThreadRow, RunRow]]:
        """The threads that a process holds, each with its current run."""
        ...

    def threads(self, query: ThreadQuery, before: int, limit: int) -> list[tuple[ThreadRow, RunRow]]:
        """The threads that a query asks for, each with its current run; by the runs' numbers, from below ``before`` down."""
        ...

    def records(self, run_no: int, after: int = 0) -> list[bytes]:
        """The chunks of a run's journal, in the order they were written, without the first ``after`` ones.

        Whoever follows a run asks again and again for what has come since: a chunk never appears in front of one that was
        read before.
        """
        ...

    def put_thread(self, row: ThreadRow) -> ThreadRow:
        """Insert or replace a thread; returns it with its number."""
        ...

    def put_run(self, row: RunRow) -> RunRow:
        """Insert a run, or replace how it stands; returns it with its number.

        What was asked for never changes: of a run that is there, everything is replaced but ``run_id``, ``thread_no``,
        ``workflow``, ``created_at``, ``input`` and ``key``.
        """
        ...

    def save(self, run_no: int, saved: bytes | None, saved_base: int) -> None:
        """Store a run's saved value in another form."""
        ...

    def delete_runs(self, run_nos: Sequence[int]) -> None:
        """Forget runs with their journals."""
        ...

    def delete_thread(self, thread_no: int) -> None:
        """Forget a thread; its runs have been deleted."""
        ...

    def thread_nos(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Numbers and names of threads with numbers above ``after``, in that order."""
        ...

    def append(self, chunk: Chunk) -> bool:
        """Append to a journal; False, and nothing written, when the fence is stale."""
        ...

    def thread(self, thread_no: int) -> ThreadRow | None:
        """The thread of that number."""
        ...

    def owner(self, owner: str) -> OwnerRow | None:
        """The process of that name."""
        ...

    def put_owner(self, row: OwnerRow) -> None:
        """Insert or replace a process."""
        ...

    def delete_owners(self, before: float) -> None:
        """Forget the processes whose lease ended before that moment and that hold nothing."""
        ...


Work: TypeAlias = Callable[[Transaction], Any]
"""Reads, decides and writes. It raises before its first write, or not at all."""


class Busy(Exception):
    """The database is locked by somebody else at this moment; nothing was written. The engine waits and tries again."""


class Away(Busy):
    """The database cannot be reached at this moment."""


class Uncertain(Exception):
    """The database was lost while it committed, so nobody knows yet whether the transaction took effect.

    The engine finds out before it writes anything else to this database.

    Args:
        find_out: returns what the transaction would have returned if it took effect, None if it did not. It raises `Busy`
            as long as the database cannot say.
    """

    def __init__(self, message: str, find_out: Callable[[], list[Any] | None]) -> None:
        super().__init__(message)
        self.find_out = find_out
