"""What is written, as statements that go out together and take effect together, or not at all.

Nothing that was read is locked while a client thinks. So the first thing a transaction does is to lock the threads it
concerns, always in the order of their numbers, and to check that they are as they were read; if not, it fails as a whole,
and its works decide anew. Between that and the commit the server waits for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from ..rows import CHANGING, Chunk, OwnerRow, RunRow, ThreadRow
from .reading import SHIFT, numbers
from .tables import RUN, THREAD, text
from .view import Writes

__all__ = ["APPEND", "BURN", "CONFLICTS", "appended", "last", "statements"]

CONFLICTS: Final = frozenset({"22012", "23505"})
"""Division by zero is how a check below fails; a unique violation, how somebody else was faster with the same row."""

Statement: TypeAlias = tuple[str, tuple[Any, ...]]


def arrays(table: dict[str, str]) -> str:
    return ", ".join(f"%s::{kind}[]" for kind in table.values())


LASTING: Final = """
    select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'"""
LOCK: Final = """
    with wanted as (select * from unnest(%s::bigint[], %s::bigint[], %s::bigint[]) w (no, version, fence)),
    held as materialized (
        select no, version, fence from {schema}.durably_thread where no = any(%s::bigint[]) order by no for no key update)
    select 1 / (count(*) = 0)::int from wanted w left join held h on h.no = w.no
    where h.no is null or h.version <> w.version or h.fence <> w.fence"""
# Chunks are counted, as they are when they are read: where somebody took one away, the last place would never fit.
CHECK_ENDS: Final = """
    select 1 / (count(*) = 0)::int from unnest(%s::bigint[], %s::bigint[]) w (run_no, chunks)
    where w.chunks <> (select count(*) from {schema}.durably_journal j where j.run_no = w.run_no)"""
INSERT_THREADS: Final = (
    f"insert into {{schema}}.durably_thread ({', '.join(THREAD)}) select * from unnest({arrays(THREAD)})"
)
UPDATE_THREADS: Final = f"""
    update {{schema}}.durably_thread t
    set fence = w.fence, run_no = w.run_no, head_no = w.head_no, owner = w.owner, since = w.since, next_no = w.next_no,
        version = t.version + 1
    from unnest({arrays(THREAD)}) w ({", ".join(THREAD)}) where t.no = w.no"""
TOUCH_THREADS: Final = "update {schema}.durably_thread set version = version + 1 where no = any(%s::bigint[])"
INSERT_RUNS: Final = f"insert into {{schema}}.durably_run ({', '.join(RUN)}) select * from unnest({arrays(RUN)})"
CHANGED_RUNS: Final = {"no": "bigint", **{name: RUN[name] for name in CHANGING}}
UPDATE_RUNS: Final = f"""
    update {{schema}}.durably_run r set {", ".join(f"{name} = w.{name}" for name in CHANGING)}
    from unnest({arrays(CHANGED_RUNS)}) w ({", ".join(CHANGED_RUNS)}) where r.no = w.no"""
SAVE: Final = "update {schema}.durably_run set saved = %s, saved_base = %s where no = %s"
DELETE_JOURNALS: Final = "delete from {schema}.durably_journal where run_no = any(%s::bigint[])"
DELETE_RUNS: Final = "delete from {schema}.durably_run where no = any(%s::bigint[])"
DELETE_THREADS: Final = "delete from {schema}.durably_thread where no = any(%s::bigint[])"
PLACES: Final = """
    insert into {schema}.durably_journal (run_no, place, data)
    select run_no, coalesce((select max(place) from {schema}.durably_journal j where j.run_no = g.run_no), 0)
        + row_number() over (partition by run_no order by ord), data from """
INSERT_CHUNKS: Final = (
    PLACES + "unnest(%s::bigint[], %b::bytea[]) with ordinality g (run_no, data, ord)"  # the locks are held already
)
PUT_OWNERS: Final = f"""
    insert into {{schema}}.durably_owner (owner, host, until)
    select owner, host, until + {SHIFT}
    from unnest(%s::text[], %s::text[], %s::double precision[]) w (owner, host, until) order by owner
    on conflict (owner) do update set host = excluded.host, until = excluded.until"""
DELETE_OWNERS: Final = f"""
    delete from {{schema}}.durably_owner o where until - {SHIFT} < %s
    and not exists (select 1 from {{schema}}.durably_thread t where t.owner = o.owner and t.owner <> '')"""
NOTIFY: Final = "select pg_notify('durably_due', '')"
# The writer counts its transactions. One that has been given up for lost must not take effect afterwards: then this fails.
MARK: Final = """
    insert into {schema}.durably_commit as c (writer, no) values (%s, %s)
    on conflict (writer) do update set no = excluded.no, burnt = false, at = excluded.at where c.no < excluded.no"""
MARKED: Final = f"with marked as ({MARK} returning 1) select 1 / count(*) from marked"
BURN: Final = """
    with burnt as (
        insert into {schema}.durably_commit as c (writer, no, burnt) values (%s, %s, true)
        on conflict (writer) do update set no = excluded.no, burnt = true where c.no < excluded.no returning 1)
    select count(*) from burnt"""
FOUND_OUT: Final = "select no, burnt from {schema}.durably_commit where writer = %s"
# A flush of journals alone, in a statement of its own: one that is stale leaves the others alone.
APPEND: Final = f"""
    with lasting as (
        select set_config('synchronous_commit', 'on', true) where %s and current_setting('synchronous_commit') = 'off'),
    given as (
        select * from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %b::bytea[])
            with ordinality g (thread_no, fence, run_no, data, ord)),
    held as materialized (
        select no, fence from {{schema}}.durably_thread where no = any(%s::bigint[]) order by no for no key update),
    kept as materialized (select g.* from given g join held h on h.no = g.thread_no and h.fence = g.fence),
    marked as ({MARK} returning 1),
    added as ({PLACES} kept g)
    select array(select ord from kept), 1 / (select count(*) from marked), (select count(*) from lasting)"""


def appended(chunks: Sequence[Chunk], writer: str, no: int, durable: bool) -> tuple[Any, ...]:
    """The parameters of `APPEND`."""
    threads = numbers(chunk.thread_no for chunk in chunks)
    fences, runs = numbers(chunk.fence for chunk in chunks), numbers(chunk.run_no for chunk in chunks)
    return durable, threads, fences, runs, [chunk.data for chunk in chunks], threads, writer, no


def statements(writes: Writes, durable: bool) -> Iterator[Statement]:
    """Everything that is to be written, in the one order in which it is always written."""
    if durable:
        yield LASTING, ()
    yield from _locks(writes)
    yield from _deletions(writes)
    yield from _threads(writes)
    yield from _runs(writes)
    if writes.chunks:
        yield INSERT_CHUNKS, (numbers(c.run_no for c in writes.chunks), [c.data for c in writes.chunks])
    if writes.owners:
        yield PUT_OWNERS, _owners(list(writes.owners.values()))
    if writes.forget_before is not None:
        yield DELETE_OWNERS, (time.time(), writes.forget_before)
    if any(run.due is not None for run in writes.runs.values()):
        yield NOTIFY, ()  # heard when this is committed


def last(writer: str, no: int) -> Statement:
    """What a transaction ends with, so that its outcome can be looked up."""
    return MARKED, (writer, no)


def _locks(writes: Writes) -> Iterator[Statement]:
    old = (writes.touched | writes.versions.keys() | writes.fences.keys()) - writes.new_threads
    if old:
        checked = sorted(writes.versions.keys() | writes.fences.keys())
        versions = _optional(writes.versions.get(no) for no in checked)
        fences = _optional(writes.fences.get(no) for no in checked)
        yield LOCK, (numbers(checked), versions, fences, numbers(sorted(old)))
    if writes.ends:
        yield CHECK_ENDS, (numbers(writes.ends), numbers(writes.ends.values()))


def _deletions(writes: Writes) -> Iterator[Statement]:
    if writes.dead_runs:
        dead = numbers(writes.dead_runs)
        yield DELETE_JOURNALS, (dead,)
        yield DELETE_RUNS, (dead,)
    if writes.dead_threads:
        yield DELETE_THREADS, (numbers(writes.dead_threads),)


def _threads(writes: Writes) -> Iterator[Statement]:
    new = [row for no, row in writes.threads.items() if no in writes.new_threads]
    old = [row for no, row in writes.threads.items() if no not in writes.new_threads]
    if new:
        yield INSERT_THREADS, _columns([_stored_thread(row) for row in new], THREAD)
    if old:
        yield UPDATE_THREADS, _columns([_stored_thread(row) for row in old], THREAD)
    # A thread is another version when one of its runs is; what was read of it is not what is there any more.
    untold = {run.thread_no for run in writes.runs.values()} - writes.threads.keys()
    if writes.dead_runs or writes.saves:
        untold |= writes.versions.keys() - writes.threads.keys()
    if untold:
        yield TOUCH_THREADS, (numbers(sorted(untold)),)


def _runs(writes: Writes) -> Iterator[Statement]:
    new = [row for no, row in writes.runs.items() if no in writes.new_runs]
    old = [row for no, row in writes.runs.items() if no not in writes.new_runs]
    if new:
        yield INSERT_RUNS, _columns([_stored_run(row) for row in new], RUN)
    if old:
        yield UPDATE_RUNS, _columns(old, CHANGED_RUNS)
    for run_no, (saved, saved_base) in writes.saves.items():
        yield SAVE, (saved, saved_base, run_no)


def _stored_thread(row: ThreadRow) -> ThreadRow:
    name = text(row.thread_id, "thread id")
    return row if name is row.thread_id else replace(row, thread_id=name)


def _stored_run(row: RunRow) -> RunRow:
    names = {"run_id": "run id", "workflow": "workflow's name", "key": "idempotency key"}
    return replace(row, **{name: text(getattr(row, name), what) for name, what in names.items()})


def _columns(rows: Sequence[ThreadRow | RunRow], table: dict[str, str]) -> tuple[Any, ...]:
    """The rows as one array for each column."""
    return tuple(
        numbers(map(attrgetter(name), rows)) if kind == "bigint" else list(map(attrgetter(name), rows))
        for name, kind in table.items()
    )


def _optional(values: Iterator[int | None]) -> str:
    return "{" + ",".join("null" if value is None else str(value) for value in values) + "}"


def _owners(rows: list[OwnerRow]) -> tuple[Any, ...]:
    return time.time(), [row.owner for row in rows], [row.host for row in rows], [row.until for row in rows]
