"""Which threads there are: listed and searched by how they stand, when they changed, and what they were labelled with."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, get_args

import msgspec

from ..checkpoint.base import RunRow, Status, ThreadQuery, ThreadRow, Transaction, Work
from ..errors import ConfigError
from .rows import decode_extra, head_of

__all__ = ["ThreadInfo", "find_threads", "query_for", "thread_info"]

PAGE: Final = 100


class ThreadInfo(msgspec.Struct, frozen=True):
    """A thread, and how its current run stands.

    Args:
        thread_id: the user's name for it.
        workflow: the name of the workflow that runs it.
        status: how its current run stands.
        run_id: names that run.
        created_at: when that run began, in seconds since the epoch.
        updated_at: when it last changed, likewise.
        attempts: how many attempts of it have begun.
        metadata: what it was started with; likewise ``tags``.
        config: addresses the thread.
    """

    thread_id: str
    workflow: str
    status: Status
    run_id: str
    created_at: float
    updated_at: float
    attempts: int
    metadata: dict[str, Any]
    tags: list[str]
    config: dict[str, Any]


def query_for(
    workflow: str, status: str | None, since: datetime | float | None, until: datetime | float | None
) -> ThreadQuery:
    """What to look for.

    Raises:
        ConfigError: there is no such status, or a moment is none.
    """
    if status is not None and status not in get_args(Status):
        raise ConfigError(f"unknown status {status!r}: give one of {', '.join(map(repr, get_args(Status)))}, or None")
    return ThreadQuery(workflow, status or "", _seconds("since", since, 0.0), _seconds("until", until, float("inf")))


def _seconds(name: str, moment: Any, default: float) -> float:
    if moment is None:
        return default
    if isinstance(moment, datetime):
        return moment.timestamp()
    if isinstance(moment, (int, float)) and not isinstance(moment, bool):
        return float(moment)
    raise ConfigError(f"{name}={moment!r}: give a datetime, or a number of seconds since the epoch")


def find_threads(query: ThreadQuery, below: int) -> Work:
    """The next page: threads, and the number to go on from, 0 after the last page."""

    def work(transaction: Transaction) -> tuple[list[ThreadInfo], int]:
        rows = transaction.threads(query, below, PAGE)
        return [thread_info(thread, run) for thread, run in rows], rows[-1][1].no if len(rows) == PAGE else 0

    return work


def thread_info(thread: ThreadRow, run: RunRow) -> ThreadInfo:
    """A thread with its current run, as people see it."""
    extra = decode_extra(head_of(run))
    return ThreadInfo(
        thread_id=thread.thread_id,
        workflow=run.workflow,
        status=run.status,
        run_id=run.run_id,
        created_at=run.created_at,
        updated_at=run.updated_at,
        attempts=run.attempt,
        metadata=extra.get("metadata", {}),
        tags=extra.get("tags", []),
        config={"configurable": {"thread_id": thread.thread_id}},
    )
