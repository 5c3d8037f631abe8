"""What a database keeps, and for how long: works over a `Transaction`, the same for every backend."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from ..errors import ConfigError
from ..serde import Serializer
from .copying import all_runs
from .rows import RunRow, ThreadRow, Transaction, Work
from .saved import bases_to_come, resolved

__all__ = ["cutoff", "deleting_runs", "deleting_thread", "pruning"]


def cutoff(older_than: float | timedelta | datetime | None) -> float | None:
    """A point in time, in seconds since the epoch.

    Raises:
        ConfigError: that is none.
    """
    if older_than is None:
        return None
    if isinstance(older_than, datetime):
        return older_than.timestamp()
    if isinstance(older_than, timedelta):
        return time.time() - older_than.total_seconds()
    if isinstance(older_than, (int, float)) and not isinstance(older_than, bool) and older_than >= 0:
        return time.time() - older_than
    raise ConfigError(f"older_than={older_than!r}: give a number of seconds, a timedelta or a datetime")


def deleting_thread(thread_id: str) -> Work:
    """Forget a thread with all its runs; whether there was one."""

    def work(transaction: Transaction) -> bool:
        thread = transaction.open(thread_id).thread
        if thread is None:
            return False
        transaction.delete_runs([run.no for run in all_runs(transaction, thread.no)])
        transaction.delete_thread(thread.no)
        return True

    return work


def pruning(thread_id: str, before: float | None, keep_last: int, serde: Serializer) -> Work:
    """Forget runs of a thread that are over; how many.

    The thread's current run stays, the run whose saved value is its ``previous``, and what either was based on. While an
    attempt is under way, what it may store a difference to stays, too.
    """

    def work(transaction: Transaction) -> int:
        thread = transaction.open(thread_id).thread
        if thread is None:
            return 0
        runs = list(all_runs(transaction, thread.no))
        kept = {run.no for run in runs[:keep_last]} | {thread.run_no, thread.head_no}
        kept |= {run.no for run in runs if run.status == "pending"}
        kept |= {run.no for run in runs if before is not None and run.updated_at >= before}
        kept |= {run.base_no for run in runs if run.no in kept} | _ground(thread, runs)
        doomed = [run for run in runs if run.no not in kept]
        _forget(transaction, [run for run in runs if run.no in kept], doomed, serde)
        return len(doomed)

    return work


def _ground(thread: ThreadRow, runs: list[RunRow]) -> set[int]:
    """The runs of a thread that the attempt under way builds on."""
    by_no = {run.no: run for run in runs}
    current = by_no.get(thread.run_no)
    return bases_to_come(current, by_no) if thread.owner and current is not None else set()


def _forget(transaction: Transaction, kept: Iterable[RunRow], doomed: list[RunRow], serde: Serializer) -> None:
    """Delete runs; saved values that were stored as a difference to theirs are stored whole before."""
    numbers = {run.no for run in doomed}
    for run in kept:
        if run.saved_base in numbers:
            transaction.save(run.no, resolved(transaction, run, serde).saved, 0)
    transaction.delete_runs(sorted(numbers))


def deleting_runs(run_ids: list[str], serde: Serializer) -> Work:
    """Forget runs by name, whatever they are to their threads; how many there were."""

    def work(transaction: Transaction) -> int:
        found = [run for run in map(transaction.find_run, run_ids) if run is not None]
        doomed = {run.no for run in found}
        for thread in map(transaction.thread, {run.thread_no for run in found}):
            if thread is not None:
                runs = list(all_runs(transaction, thread.no))
                kept = [run for run in runs if run.no not in doomed]
                thread = _fenced_off(transaction, thread, runs, doomed)
                _forget(transaction, kept, [run for run in runs if run.no in doomed], serde)
                _mend(transaction, thread, kept)
        return len(found)

    return work


def _fenced_off(transaction: Transaction, thread: ThreadRow, runs: list[RunRow], doomed: set[int]) -> ThreadRow:
    """The thread; an attempt that is under way on it can write nothing any more if it builds on what is to go."""
    if not thread.owner or doomed.isdisjoint({thread.run_no} | _ground(thread, runs)):
        return thread
    current = next(run for run in runs if run.no == thread.run_no)
    if current.no not in doomed:
        transaction.put_run(replace(current, status="stopped"))
    return replace(thread, fence=thread.fence + 1, owner="")


def _mend(transaction: Transaction, thread: ThreadRow, kept: list[RunRow]) -> None:
    """Have a thread point to the runs that are left: where its current one is gone, to the next or else to the latest."""
    left = {run.no for run in kept}
    line = [run for run in reversed(kept) if run.status == "pending" and run.due is None]
    run_no, head_no = thread.run_no, thread.head_no
    if head_no not in left:
        head_no = max((run.no for run in kept if run.status == "done"), default=0)
    if run_no not in left and line:
        first = line.pop(0)
        run_no = transaction.put_run(replace(first, due=first.created_at, base_no=head_no)).no
    elif run_no not in left:
        run_no = max(left, default=0)
    next_no = line[0].no if line else 0
    transaction.put_thread(replace(thread, run_no=run_no, head_no=head_no, next_no=next_no))
