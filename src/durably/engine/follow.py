"""Following a run from its journal: first what is recorded, then what comes, until its attempt has ended."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from ..checkpoint.base import RunRow, Transaction, Work
from ..checkpoint.saved import resolved
from ..errors import ConfigError, EmptyInputError, WorkflowMismatch
from ..parts import StreamEvent
from .commit import Committer
from .ending import outcome_of_run
from .events import Told, Wanted
from .journal import decode_journal
from .news import Bell, News, read
from .owner import Owner
from .request import is_waiting
from .rows import parse_checkpoint
from .steps import Steps, adrive, drive

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer

__all__ = ["Follower", "Target", "follow_awaiting", "follow_blocking"]

SELDOM: Final = 1.0
"""Seconds between two looks at a run of this process, which rings when it has written something."""


class Target(msgspec.Struct, frozen=True):
    """Which run to follow.

    Args:
        workflow: the name of its workflow.
        thread_id: its thread.
        run_id: its name; empty for the thread's current run.
        interval: seconds between two looks at a run of another process.
    """

    workflow: str
    thread_id: str
    run_id: str
    interval: float


class _Look(msgspec.Struct, frozen=True):
    """A run as one read finds it: with what is new in its journal, and who will go on with it."""

    run: RunRow
    chunks: list[bytes]
    goes_on: bool
    is_ours: bool


class Follower:
    """One reader of a run. Any number of them may read the same one.

    Args:
        checkpointer: where the run is stored.
        target: which run.
        wanted: which of its events.
    """

    def __init__(self, checkpointer: BaseCheckpointer, target: Target, wanted: Wanted) -> None:
        self._checkpointer = checkpointer
        self._committer = Committer.of(checkpointer)
        self._owner = Owner.of(self._committer)
        self._target = target
        self._wanted = wanted
        self._bell = Bell()
        self._chunks = 0  # how many of the journal have been read
        self._run_no = 0
        self._told: Told | None = None
        self._ended: RunRow | None = None

    def news(self) -> Steps[Iterator[StreamEvent] | None]:
        """Wait for something new; None after the end. What it returns is to be read before it is called again.

        Raises:
            BaseException: what ended the run, after its last events.
        """
        if self._told is None:
            yield from self._begin()
        if self._ended is not None:
            if not self._has_ended_well(self._ended):
                outcome_of_run(self._ended, [], self._checkpointer.serde)
            return None
        is_sure = False
        while True:
            self._bell.rung.clear()
            look: _Look = yield from read(self._checkpointer, self._look)
            if look.run.status == "running" and not look.goes_on and not is_sure:
                is_sure = True  # its process is gone, or it has ended since the row was read
                continue
            if look.chunks or not look.goes_on:
                return self._events(look)
            yield News(self._bell, max(SELDOM, self._target.interval) if look.is_ours else self._target.interval)

    def _begin(self) -> Steps[None]:
        run: RunRow = yield from read(self._checkpointer, find_run(self._target))
        self._run_no = run.no
        self._told = Told(run.run_id, run.workflow, self._checkpointer.serde, self._wanted)
        self._committer.bells.add(run.no, self._bell)

    def _has_ended_well(self, run: RunRow) -> bool:
        return run.status == "done" or (self._told is not None and self._told.has_asked(run.status))

    def leave(self) -> None:
        """Read no more."""
        if self._told is not None:
            self._committer.bells.remove(self._run_no, self._bell)

    def _look(self, transaction: Transaction) -> _Look:
        # What one statement reads belongs together. The journal is read behind it: whole, when the run has ended.
        opened = transaction.open(self._target.thread_id)
        thread, is_current = opened.thread, opened.run is not None and opened.run.no == self._run_no
        run = opened.run if is_current else transaction.run(self._run_no)
        if run is None or thread is None:
            raise ConfigError(f"the run that was followed on thread {self._target.thread_id!r} was deleted meanwhile")
        chunks = transaction.records(run.no, self._chunks)
        is_held = is_current and self._owner.is_held(thread, transaction, time.time())
        goes_on = is_waiting(run) or run.status == "pending" or (run.status == "running" and is_held)
        if run.status == "done":
            run = resolved(transaction, run, self._checkpointer.serde)
        return _Look(run, chunks, goes_on, is_held and thread.owner == self._owner.name)

    def _events(self, look: _Look) -> Iterator[StreamEvent]:
        assert self._told is not None
        self._chunks += len(look.chunks)
        for chunk in look.chunks:
            for record in decode_journal([chunk]):
                yield from self._told.record(record)
        if not look.goes_on:
            yield from self._told.end(look.run)
            self._ended = look.run


def find_run(target: Target) -> Work:
    """The run that is to be followed.

    The work raises `EmptyInputError` where the thread has never run, `ConfigError` where it has no such run, and
    `WorkflowMismatch` where another workflow runs it.
    """

    def work(transaction: Transaction) -> RunRow:
        opened = transaction.open(target.thread_id)
        if opened.thread is None or opened.run is None:
            raise EmptyInputError(
                f"thread {target.thread_id!r} has never run, so there is nothing to join. Start a run with an input."
            )
        run = transaction.find_run(target.run_id) if target.run_id else opened.run
        if run is None or run.thread_no != opened.thread.no:
            raise ConfigError(
                f"thread {target.thread_id!r} has no run {target.run_id}: it may have been pruned, or be of another thread"
            )
        if run.workflow != target.workflow:
            raise WorkflowMismatch(
                f"run {run.run_id} on thread {target.thread_id!r} belongs to workflow {run.workflow!r}, and "
                f"{target.workflow!r} was asked to follow it"
            )
        return run

    return work


def run_meant(checkpoint_id: str | None, after_run: str) -> str:
    """The run that a checkpoint or the id of an event names, empty where neither is given.

    Raises:
        ConfigError: they name two.
    """
    run_id = "" if checkpoint_id is None else parse_checkpoint(checkpoint_id)[0]
    if run_id and after_run and run_id != after_run:
        raise ConfigError(f"after= is of run {after_run}, and the config's checkpoint of run {run_id}")
    return run_id or after_run


def follow_blocking(follower: Follower) -> Generator[StreamEvent, None, None]:
    """Read on this thread."""
    try:
        while (events := drive(follower.news())) is not None:
            yield from events
    finally:
        follower.leave()


async def follow_awaiting(follower: Follower) -> AsyncGenerator[StreamEvent, None]:
    """Read on the running event loop."""
    try:
        while (events := await adrive(follower.news())) is not None:
            for event in events:
                yield event
    finally:
        follower.leave()
