"""Threads copied with their history: under another name in a database, or to another database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from ..errors import ConfigError
from ..serde import Serializer
from .records import Record, decode_journal, encode_records, new_run_id
from .rows import Chunk, RunRow, ThreadRow, Transaction, Work, new_thread
from .transfer import copied_records, copied_run

__all__ = ["all_runs", "copying", "reading", "resealing", "writing"]

PAGE = 500


def all_runs(transaction: Transaction, thread_no: int) -> Iterator[RunRow]:
    """The runs of a thread, latest first."""
    before = 1 << 62
    while page := transaction.runs(thread_no, before, PAGE):
        yield from page
        before = page[-1].no


class History(msgspec.Struct, frozen=True):
    """A thread with all that is stored of it.

    Args:
        thread: the thread.
        runs: oldest first, each with its journal.
    """

    thread: ThreadRow
    runs: tuple[tuple[RunRow, list[Record]], ...]


class _Resealing:
    """Opens values with one serializer and seals them with another."""

    def __init__(self, source: Any, target: Any) -> None:
        self.loads, self.unseal = source.loads, source.unseal
        self.dumps, self.seal = target.dumps, target.seal
        self.fingerprint, self.cache_key = target.fingerprint, target.cache_key


def resealing(source: Serializer, target: Serializer) -> Serializer:
    """What takes values from a database with one serializer to one with another: bytes are opened, and sealed anew.

    Raises:
        ConfigError: one of them would not understand what the other has written, or not recognize its calls.
    """
    sealers = [all(hasattr(each, name) for name in ("seal", "unseal")) for each in (source, target)]
    probe = ("the same call",)
    if sealers[0] != sealers[1] or source.fingerprint(probe) != target.fingerprint(probe):
        raise ConfigError(
            f"calls recorded with a {type(source).__name__} are not recognized with this {type(target).__name__}: give both "
            "checkpointers serializers of one kind, and encrypting ones the same hash_key="
        )
    return _Resealing(source, target) if all(sealers) else target


def reading(thread_id: str) -> Work:
    """Read a thread with its history; None where there is none of that name."""

    def work(transaction: Transaction) -> History | None:
        thread = transaction.open(thread_id).thread
        if thread is None:
            return None
        runs = reversed(list(all_runs(transaction, thread.no)))
        return History(thread, tuple((run, decode_journal(transaction.records(run.no))) for run in runs))

    return work


def writing(history: History, serde: Serializer) -> Work:
    """Write a thread as it stands in another database, under the names that it and its runs have; whether it was not there.

    Whoever held it there is nobody here, so that a run that was under way can be recovered.

    Args:
        history: what was read.
        serde: see `resealing`.
    """

    def work(transaction: Transaction) -> bool:
        if transaction.open(history.thread.thread_id).thread is not None:
            return False
        if history.runs and transaction.find_run(history.runs[-1][0].run_id) is not None:
            raise ConfigError(
                f"the runs of thread {history.thread.thread_id!r} are in that database already, on a thread of another name"
            )
        found = history.thread
        thread, numbers = _put(transaction, history, found.thread_id, lambda run: run, serde)
        run_no, head_no, next_no = (numbers.get(no, 0) for no in (found.run_no, found.head_no, found.next_no))
        fields = {"run_no": run_no, "head_no": head_no, "next_no": next_no, "owner": found.owner, "since": found.since}
        transaction.put_thread(replace(thread, **fields))
        return True

    return work


def copying(source: str, target: str, serde: Serializer) -> Work:
    """Copy a thread with its history; how many runs it has.

    The runs get names of their own, since names are unique, and nobody goes on with one before being told to.

    Args:
        source: the thread.
        target: the name of the copy.
        serde: turns values into bytes.
    """

    def work(transaction: Transaction) -> int:
        history: History | None = reading(source)(transaction)
        if history is None:
            raise ConfigError(f"there is no thread {source!r} to copy")
        if transaction.open(target).thread is not None:
            raise ConfigError(f"there is a thread {target!r} already: delete it, or choose another name")
        thread, numbers = _put(transaction, history, target, _asleep, serde)
        run_no, head_no = numbers.get(history.thread.run_no, 0), numbers.get(history.thread.head_no, 0)
        transaction.put_thread(replace(thread, run_no=run_no, head_no=head_no))
        return len(history.runs)

    return work


def _asleep(run: RunRow) -> RunRow:
    status = "stopped" if run.status in ("running", "pending", "sleeping") else run.status
    return replace(run, run_id=new_run_id(), status=status, due=None)


def _put(
    transaction: Transaction, history: History, thread_id: str, renamed: Callable[[RunRow], RunRow], serde: Serializer
) -> tuple[ThreadRow, dict[int, int]]:
    """Write runs and journals; returns the thread, which points to none of them yet, and their numbers, old to new."""
    thread = transaction.put_thread(new_thread(thread_id))
    copies = [renamed(run) for run, _ in history.runs]
    names = {run.run_id: copy.run_id for (run, _), copy in zip(history.runs, copies, strict=True)}
    numbers, written = dict[int, int](), list[RunRow]()
    for (run, records), copy in zip(history.runs, copies, strict=True):
        row = copied_run(run, copy.run_id, numbers, names, serde)
        row = transaction.put_run(replace(row, thread_no=thread.no, status=copy.status, due=copy.due))
        numbers[run.no] = row.no
        written.append(row)
        if records:
            copied = copied_records(run.run_id, row.run_id, records, (), serde)
            transaction.append(Chunk(thread.no, thread.fence, row.no, encode_records(copied)))
    for (run, _), row in zip(history.runs, written, strict=True):
        if numbers.get(run.base_no, 0) != row.base_no:  # one that waited was given a base that came after it
            transaction.put_run(replace(row, base_no=numbers[run.base_no], saved_base=numbers.get(run.saved_base, 0)))
    return thread, numbers
