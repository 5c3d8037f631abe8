"""What is written, as parts of statements that take effect together, or not at all.

Nothing that was read is locked while a client thinks. So the first thing a transaction does is to lock the threads it
concerns, always in the order of their numbers, and to check that they are as they were read; if not, it fails as a whole,
and its works decide anew. Between that and the commit the server waits for nobody.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final

from msgspec.structs import astuple, replace

from ..rows import CHANGING, Chunk, RunRow, ThreadRow
from .forms import Form, Part, Statement, numbers
from .reading import SHIFT
from .tables import RUN, THREAD, text
from .view import Writes

__all__ = ["APPEND", "BURN", "CONFLICTS", "appended", "last", "parts"]

CONFLICTS: Final = frozenset({"22012", "23505"})
"""Division by zero is how a check below fails; a unique violation, how somebody else was faster with the same row."""

LASTING: Final = """
    select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'"""
# Rows come in the order of their numbers, and each is looked up and locked by itself.
LOCK: Final = Form(
    """
    select 1 / (count(*) = 0)::int from ROWS left join lateral (
        select no, version, fence from {schema}.durably_thread where no = w.no for no key update) h on true
    where h.no is null and coalesce(w.version, w.fence) is not null or h.version <> w.version or h.fence <> w.fence""",
    {"no": "bigint", "version": "bigint", "fence": "bigint"},
)
# Chunks are counted, as they are when they are read: where somebody took one away, the last place would never fit.
CHECK_ENDS: Final = Form(
    """
    select 1 / (count(*) = 0)::int from ROWS
    where w.chunks <> (select count(*) from {schema}.durably_journal j where j.run_no = w.run_no)""",
    {"run_no": "bigint", "chunks": "bigint"},
)
INSERT_THREADS: Final = Form(f"insert into {{schema}}.durably_thread ({', '.join(THREAD)}) select * from ROWS", THREAD)
UPDATE_THREADS: Final = Form(
    """
    update {schema}.durably_thread t
    set fence = w.fence, run_no = w.run_no, head_no = w.head_no, owner = w.owner, since = w.since, next_no = w.next_no,
        version = t.version + 1
    from ROWS where t.no = w.no AMONG t.no""",
    THREAD,
)
TOUCH_THREADS: Final = Form(
    "update {schema}.durably_thread t set version = version + 1 from ROWS where t.no = w.no AMONG t.no",
    {"no": "bigint"},
)
INSERT_RUNS: Final = Form(f"insert into {{schema}}.durably_run ({', '.join(RUN)}) select * from ROWS", RUN)
CHANGED_RUNS: Final = {"no": "bigint", **{name: RUN[name] for name in CHANGING}}
UPDATE_RUNS: Final = Form(
    f"""
    update {{schema}}.durably_run r set {", ".join(f"{name} = w.{name}" for name in CHANGING)}
    from ROWS where r.no = w.no AMONG r.no""",
    CHANGED_RUNS,
)
SAVE: Final = "update {schema}.durably_run set saved = %s, saved_base = %s where no = %s"
DELETE_JOURNALS: Final = "delete from {schema}.durably_journal where run_no = any(%s::bigint[])"
DELETE_RUNS: Final = "delete from {schema}.durably_run where no = any(%s::bigint[])"
DELETE_THREADS: Final = "delete from {schema}.durably_thread where no = any(%s::bigint[])"
PLACES: Final = """
    insert into {schema}.durably_journal (run_no, place, data)
    select run_no, coalesce((select max(place) from {schema}.durably_journal j where j.run_no = w.run_no), 0) + nth, data
    from """
INSERT_CHUNKS: Final = Form(PLACES + "ROWS", {"run_no": "bigint", "data": "bytea", "nth": "bigint"})
PUT_OWNERS: Final = Form(
    f"""
    insert into {{schema}}.durably_owner (owner, host, until)
    select owner, host, until + {SHIFT} from ROWS order by owner
    on conflict (owner) do update set host = excluded.host, until = excluded.until""",
    {"owner": "text", "host": "text", "until": "double precision"},
)
DELETE_OWNERS: Final = f"""
    delete from {{schema}}.durably_owner o where until - {SHIFT} < %s
    and not exists (select 1 from {{schema}}.durably_thread t where t.owner = o.owner and t.owner <> '')"""
NOTIFY: Final = "select pg_notify('durably_due', '')"
# The writer counts its transactions. One that has been given up for lost must not take effect afterwards: then this fails.
MARK: Final = """
    insert into {schema}.durably_commit as c (writer, no) values (%s, %s::bigint)
    on conflict (writer) do update set no = excluded.no, burnt = false, at = excluded.at where c.no < excluded.no
    returning 1"""
MARKED: Final = "1 / (select count(*) from marked)"
BURN: Final = """
    with burnt as (
        insert into {schema}.durably_commit as c (writer, no, burnt) values (%s, %s, true)
        on conflict (writer) do update set no = excluded.no, burnt = true where c.no < excluded.no returning 1)
    select count(*) from burnt"""
FOUND_OUT: Final = "select no, burnt from {schema}.durably_commit where writer = %s"
# A flush of journals alone: a chunk that is stale leaves the others alone.
APPEND: Final = Form(
    f"""
    with lasting as (
        select set_config('synchronous_commit', 'on', true) where %s and current_setting('synchronous_commit') = 'off'),
    kept as materialized (
        select w.* from ROWS cross join lateral (
            select fence from {{schema}}.durably_thread where no = w.thread_no for no key update) h
        where h.fence = w.fence),
    marked as ({MARK}),
    added as ({PLACES} kept w)
    select array(select ord from kept), {MARKED}, (select count(*) from lasting)""",
    {"thread_no": "bigint", "fence": "bigint", "run_no": "bigint", "data": "bytea", "nth": "bigint", "ord": "bigint"},
)


def appended(chunks: Sequence[Chunk], writer: str, no: int, durable: bool) -> Statement:
    """The statement that appends to journals where the fences hold; it answers with the places of those."""
    # Of those with different fences only some are kept, and the others must leave no gaps.
    nths = counted([(chunk.run_no, chunk.fence) for chunk in chunks])
    rows = [(*astuple(chunk), nth, place) for place, (nth, chunk) in enumerate(zip(nths, chunks, strict=True), 1)]
    sql, bound = APPEND.of(sorted(rows, key=itemgetter(0)))
    return sql, (durable, *bound, writer, str(no))


def counted(keys: list[Any]) -> list[int]:
    """For each key, the how-manieth of its like it is."""
    counts: Counter[Any] = Counter()
    nths = []
    for key in keys:
        counts[key] += 1
        nths.append(counts[key])
    return nths


def parts(writes: Writes, durable: bool) -> Iterator[Part]:
    """Everything that is to be written, in the one order in which it is always written."""
    if durable:
        yield Part("lasting", LASTING, answer="(select * from lasting)")
    yield from _locks(writes)
    yield from _deletions(writes)
    yield from _threads(writes)
    yield from _runs(writes)
    if writes.chunks:
        nths = counted([chunk.run_no for chunk in writes.chunks])
        rows = [(chunk.run_no, chunk.data, nth) for nth, chunk in zip(nths, writes.chunks, strict=True)]
        yield Part("chunks", *INSERT_CHUNKS.of(rows))
    if writes.owners:
        sql, bound = PUT_OWNERS.of([astuple(owner) for owner in writes.owners.values()])
        yield Part("owners", sql, (time.time(), *bound))
    if writes.forget_before is not None:
        yield Part("gone", DELETE_OWNERS, (time.time(), writes.forget_before), apart=True)
    if any(run.due is not None for run in writes.runs.values()):
        yield Part("notified", NOTIFY, answer="(select * from notified)")  # heard when this is committed


def last(writer: str, no: int) -> Part:
    """What a transaction ends with, so that its outcome can be looked up."""
    return Part("marked", MARK, (writer, str(no)), answer=MARKED)


def _locks(writes: Writes) -> Iterator[Part]:
    versions, fences = writes.versions, writes.fences
    old = (writes.touched | versions.keys() | fences.keys()) - writes.new_threads
    if old:
        rows = [(no, versions.get(no), fences.get(no)) for no in sorted(old)]
        yield Part("locked", *LOCK.of(rows), answer="(select * from locked)")
    if writes.ends:
        # An append that was under way while the lock was waited for is seen by nobody who has looked before that.
        yield Part("ends", *CHECK_ENDS.of(list(writes.ends.items())), apart=True)


def _deletions(writes: Writes) -> Iterator[Part]:
    if writes.dead_runs:
        dead = (numbers(writes.dead_runs),)
        yield Part("dead_journals", DELETE_JOURNALS, dead, apart=True)
        yield Part("dead_runs", DELETE_RUNS, dead, apart=True)
    if writes.dead_threads:
        yield Part("dead_threads", DELETE_THREADS, (numbers(writes.dead_threads),), apart=True)


def _threads(writes: Writes) -> Iterator[Part]:
    new = [_stored_thread(row) for no, row in writes.threads.items() if no in writes.new_threads]
    old = [_stored_thread(row) for no, row in writes.threads.items() if no not in writes.new_threads]
    if new:
        yield Part("new_threads", *INSERT_THREADS.of(new))
    if old:
        yield Part("threads", *UPDATE_THREADS.of(old))
    if untold := sorted(writes.untold):
        yield Part("touched", *TOUCH_THREADS.of([(no,) for no in untold]))


def _runs(writes: Writes) -> Iterator[Part]:
    new = [_stored_run(row) for no, row in writes.runs.items() if no in writes.new_runs]
    old = [_changed(row) for no, row in writes.runs.items() if no not in writes.new_runs]
    if new:
        yield Part("new_runs", *INSERT_RUNS.of(new))
    if old:
        yield Part("runs", *UPDATE_RUNS.of(old))
    for run_no, (saved, saved_base) in writes.saves.items():
        yield Part("saved", SAVE, (saved, saved_base, run_no), apart=True)


_changed: Final = attrgetter(*CHANGED_RUNS)


def _stored_thread(row: ThreadRow) -> tuple[Any, ...]:
    name = text(row.thread_id, "thread id")
    return astuple(row if name is row.thread_id else replace(row, thread_id=name))


def _stored_run(row: RunRow) -> tuple[Any, ...]:
    run_id, workflow = text(row.run_id, "run id"), text(row.workflow, "workflow's name")
    key = text(row.key, "idempotency key")
    if run_id is row.run_id and workflow is row.workflow and key is row.key:
        return astuple(row)
    return astuple(replace(row, run_id=run_id, workflow=workflow, key=key))
