"""What can be read, each kind for many at once: works that share a transaction share its round trips."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ..rows import Opened, OwnerRow, RunRow, ThreadQuery, ThreadRow
from .forms import Form, numbers
from .tables import RUN, THREAD, columns, read_text

__all__ = ["LOCKING", "SHIFT", "THREADS_BY_NO", "Memory", "Want", "statements"]

Want: TypeAlias = tuple[Any, ...]
"""Something to be read: its kind, then what says which."""
LOCKING: Final = frozenset({"due"})
"""What is locked when it is read, so it needs a transaction that may write."""
Take: TypeAlias = Callable[[Iterable[tuple[Any, ...]]], None]

T: Final = len(THREAD)
R: Final = len(RUN)
KEY: Final = list(RUN).index("key") - 4
SAVED: Final = list(RUN).index("saved")
MOST_BYTES: Final = 16 << 20
THREADS_AND_RUNS: Final = f"select {columns(THREAD, 't')}, t.version, {columns(RUN, 'r')}"
RUNS: Final = f"select {columns(RUN, 'r')} from {{schema}}.durably_run r"

# The journals of runs that wait are what comes next, mostly, and numbers for what is written then. An array has a limit.
# `offset 0` has each row looked up by itself.
OPEN: Final = Form(
    f"""
    {THREADS_AND_RUNS}, {columns(RUN, "h")},
    case when r.status in ('asked', 'failed', 'stopped') and {MOST_BYTES} >
            (select coalesce(sum(octet_length(data)), 0) from {{schema}}.durably_journal where run_no = r.no)
        then array(select data from {{schema}}.durably_journal where run_no = r.no order by place) end,
    nextval('{{schema}}.durably_number'), nextval('{{schema}}.durably_number')
    from ROWS
    left join lateral (select * from {{schema}}.durably_thread where thread_id = w.thread_id offset 0) t on true
    left join lateral (select * from {{schema}}.durably_run where no = t.run_no offset 0) r on true
    left join lateral (select * from {{schema}}.durably_run where no = t.head_no and no <> t.run_no offset 0) h on true""",
    {"thread_id": "text"},
)
NUMBERS: Final = "select nextval('{schema}.durably_number') from generate_series(1, %s)"
RUNS_BY_NO: Final = f"{RUNS} where r.no = any(%s::bigint[])"
# No chain is that long, unless somebody has made it a circle. The planner cannot know how short most are, and may read
# the whole table: `offset 0` has it look up each run by itself.
BASES: Final = f"""
    with recursive bases (start, depth, no) as (
        select no, 1, saved_base from {{schema}}.durably_run where no = any(%s::bigint[])
        union all select b.start, b.depth + 1, r.saved_base from bases b
        cross join lateral (select saved_base from {{schema}}.durably_run where no = b.no offset 0) r
        where b.depth < 1000)
    select b.start, {columns(RUN, "r")} from bases b
    cross join lateral (select * from {{schema}}.durably_run where no = b.no offset 0) r order by b.start, b.depth"""
RECORDS: Final = """
    select run_no, data from {schema}.durably_journal where run_no = any(%s::bigint[]) order by run_no, place"""
RECORDS_AFTER: Final = """
    select data from {schema}.durably_journal where run_no = %s and place > %s order by place"""
THREADS_BY_NO: Final = (
    f"select {columns(THREAD, 't')}, t.version from {{schema}}.durably_thread t where t.no = any(%s::bigint[])"
)
# A lease ends by the clock of the database, which all processes share. Clocks that agree to two seconds are taken as one, so
# that a moment comes back as it was put.
SHIFT: Final = """(select case when abs(shift) < 2 then 0 else shift end
    from (select extract(epoch from clock_timestamp())::double precision - %s) clocks (shift))"""
OWNERS: Final = f"""
    select owner, host, until - {SHIFT} from {{schema}}.durably_owner where owner = any(%s::text[])"""
HOLDERS: Final = f"""
    select t.owner, coalesce(o.host, ''), coalesce(o.until - {SHIFT}, 0)
    from (select distinct owner from {{schema}}.durably_thread where owner <> '') t
    left join {{schema}}.durably_owner o on o.owner = t.owner"""
FIND_RUN: Final = f"""
    select {columns(RUN, "r")}, t.version from {{schema}}.durably_run r
    left join {{schema}}.durably_thread t on t.no = r.thread_no where r.run_id = any(%s::text[])"""
FIND_KEY: Final = f"{RUNS} where r.thread_no = %s and r.key = %s and r.key <> ''"
PAGE: Final = f"{RUNS} where r.thread_no = %s and r.no < %s order by r.no desc limit %s"
WAITING: Final = f"{RUNS} where r.thread_no = %s and r.no > %s and r.status = 'pending' order by r.no limit 1"
HELD: Final = f"""
    {THREADS_AND_RUNS} from {{schema}}.durably_thread t join {{schema}}.durably_run r on r.no = t.run_no
    where t.owner = %s and t.owner <> ''"""
# Workers pass over what another one is about to take.
DUE: Final = f"""
    {THREADS_AND_RUNS} from {{schema}}.durably_run r join {{schema}}.durably_thread t on t.no = r.thread_no
    where r.workflow = %s and r.due <= %s and t.owner = '' order by r.due limit %s for no key update of t skip locked"""
THREAD_NOS: Final = "select no, thread_id from {schema}.durably_thread where no > %s order by no limit %s"
# Runs under way are few, and `offset 0` has the planner begin with the threads that are held.
RUNNING: Final = f"""
    {THREADS_AND_RUNS} from {{schema}}.durably_thread t
    cross join lateral (select * from {{schema}}.durably_run where no = t.run_no offset 0) r
    where t.owner <> '' and r.status = 'running'
        and r.updated_at >= %s and r.updated_at < %s and r.workflow = %s and r.no < %s
    order by r.no desc limit %s"""
# Most other runs are their threads' current ones. The planner takes them for very few, and would read both tables to find
# enough of them; `offset 0` has it walk down the runs and look up the thread of each. And it takes what is looked for to be
# spread evenly, so that it might walk down the runs of everybody, of which a page may be the very last: an order by workflow
# is one that only an index of workflows has, unless the planner knows that there is but one, as `=` would tell it.
LISTED: Final = f"""
    {THREADS_AND_RUNS} from {{schema}}.durably_run r
    cross join lateral (select * from {{schema}}.durably_thread
        where no = r.thread_no and run_no = r.no and r.updated_at >= %s and r.updated_at < %s offset 0) t
    where FILTER and r.workflow = any(%s::text[]) and r.no < %s
    order by r.workflow desc, r.no desc limit %s"""
# Each way of listing has an index of its own, so each is a statement of its own.
THREADS: Final = {"": LISTED.replace("FILTER", "r.status <> %s"), "done": LISTED.replace("FILTER", "r.status = %s")}
RESTING: Final = LISTED.replace("FILTER", "r.status = %s and r.status not in ('running', 'done')")


@dataclass(slots=True)
class Memory:
    """What has been read in one transaction, and which versions of threads it was read from."""

    found: dict[Want, Any] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    asked: list[Want] = field(default_factory=list)
    """All that was wanted; more may have been found with it."""
    spare: list[int] = field(default_factory=list)
    """Numbers for new rows, the first ``taken`` of which are in use."""
    taken: int = 0

    def thread(self, row: tuple[Any, ...]) -> ThreadRow:
        """A thread from the first columns of a row."""
        self.versions[row[0]] = row[T]
        return ThreadRow(row[0], read_text(row[1]), *row[2:T])

    def clear(self) -> None:
        """Forget everything."""
        for each in (self.found, self.versions, self.asked, self.spare):
            each.clear()
        self.taken = 0


def a_run(row: tuple[Any, ...]) -> RunRow:
    no, run_id, thread_no, workflow, *rest = row[:R]
    rest[KEY] = read_text(rest[KEY])
    return RunRow(no, read_text(run_id), thread_no, read_text(workflow), *rest)


def statements(wants: list[Want], memory: Memory) -> Iterator[tuple[str, tuple[Any, ...], Take]]:
    """The statements that read what is wanted; each with what takes its rows into the memory."""
    kinds: defaultdict[str, list[Want]] = defaultdict(list)
    for want in dict.fromkeys(wants):
        kinds[want[0]].append(want)
    for kind, alike in kinds.items():
        yield from READERS[kind](alike, memory)


Statements: TypeAlias = Iterator[tuple[str, tuple[Any, ...], Take]]


def _open(wants: list[Want], memory: Memory) -> Statements:
    def take(rows: Iterable[tuple[Any, ...]]) -> None:
        memory.found.update(dict.fromkeys(wants, Opened()))
        for row in rows:
            memory.spare += row[-2:]
            if row[0] is not None:
                _take_open(row, memory)

    yield *OPEN.of([(want[1],) for want in wants]), take


def _take_open(row: tuple[Any, ...], memory: Memory) -> None:
    thread = memory.thread(row)
    run, head, chunks = row[T + 1 : T + 1 + R], row[T + 1 + R : T + 1 + 2 * R], row[-3]
    if thread.head_no == thread.run_no:
        head = run
    saved = None if head[SAVED] is None else (read_text(head[1]), head[SAVED])
    memory.found["thread", thread.no] = thread
    for found in (head, run):
        if found[0] is not None:
            memory.found["run", found[0]] = a_run(found)
    if chunks is not None:
        memory.found["records", run[0], 0] = chunks
    memory.found["open", row[1]] = Opened(thread, memory.found.get(("run", run[0])), saved)


def _take_records(rows: Iterable[tuple[Any, ...]], memory: Memory) -> None:
    journals: dict[int, list[bytes]] = {}
    for run_no, data in rows:
        journal = journals.setdefault(run_no, [])
        if data is not None:
            journal.append(data)
    memory.found.update((("records", run_no, 0), journal) for run_no, journal in journals.items())


def _runs(wants: list[Want], memory: Memory) -> Statements:
    def take(rows: Iterable[tuple[Any, ...]]) -> None:
        memory.found.update(dict.fromkeys(wants))
        memory.found.update((("run", row[0]), a_run(row)) for row in rows)

    yield RUNS_BY_NO, (numbers(want[1] for want in wants),), take


def _bases(wants: list[Want], memory: Memory) -> Statements:
    def take(rows: Iterable[tuple[Any, ...]]) -> None:
        memory.found.update((want, []) for want in wants)
        for row in rows:
            memory.found["bases", row[0]].append(a_run(row[1:]))

    yield BASES, (numbers(want[1] for want in wants),), take


def _records(wants: list[Want], memory: Memory) -> Statements:
    whole = [want for want in wants if want[2] == 0]
    if whole:

        def take(rows: Iterable[tuple[Any, ...]]) -> None:
            memory.found.update((want, []) for want in whole)
            _take_records(rows, memory)

        yield RECORDS, (numbers(want[1] for want in whole),), take
    for want in wants:
        if want[2]:
            yield RECORDS_AFTER, want[1:], _keep(want, memory, lambda rows: [row[0] for row in rows])


def _threads_by_no(wants: list[Want], memory: Memory) -> Statements:
    def take(rows: Iterable[tuple[Any, ...]]) -> None:
        memory.found.update(dict.fromkeys(wants))
        memory.found.update((("thread", row[0]), memory.thread(row)) for row in rows)

    yield THREADS_BY_NO, (numbers(want[1] for want in wants),), take


def _owners(wants: list[Want], memory: Memory) -> Statements:
    def take(rows: Iterable[tuple[Any, ...]]) -> None:
        memory.found.update(dict.fromkeys(wants))
        memory.found.update((("owner", row[0]), OwnerRow(*row)) for row in rows)

    yield OWNERS, (time.time(), [want[1] for want in wants]), take


def _holders(wants: list[Want], memory: Memory) -> Statements:
    yield HOLDERS, (time.time(),), _keep(wants[0], memory, lambda rows: [OwnerRow(*row) for row in rows])


def _find_runs(wants: list[Want], memory: Memory) -> Statements:
    def take(rows: Iterable[tuple[Any, ...]]) -> None:
        memory.found.update(dict.fromkeys(wants))
        for row in rows:
            memory.found["find_run", row[1]] = a_run(row)
            if row[R] is not None:
                memory.versions[row[2]] = row[R]

    yield FIND_RUN, ([want[1] for want in wants],), take


def _find_keys(wants: list[Want], memory: Memory) -> Statements:
    for want in wants:
        yield FIND_KEY, want[1:], _keep(want, memory, lambda rows: next(map(a_run, rows), None))


def _pages(wants: list[Want], memory: Memory) -> Statements:
    for want in wants:
        yield PAGE, want[1:], _keep(want, memory, lambda rows: [a_run(row) for row in rows])


def _waiting(wants: list[Want], memory: Memory) -> Statements:
    for want in wants:
        yield WAITING, want[1:], _keep(want, memory, lambda rows: next(map(a_run, rows), None))


def _held(wants: list[Want], memory: Memory) -> Statements:
    for want in wants:
        yield HELD, want[1:], _keep(want, memory, lambda rows: _pairs(rows, memory))


def _due(wants: list[Want], memory: Memory) -> Statements:
    for want in wants:
        yield DUE, want[1:], _keep(want, memory, lambda rows: _pairs(rows, memory))


def _threads(wants: list[Want], memory: Memory) -> Statements:
    statement: str
    bound: tuple[Any, ...]
    for want in wants:
        query: ThreadQuery = want[1]
        if query.status == "running":
            statement, bound = RUNNING, (query.since, query.until, query.workflow, *want[2:])
        else:
            statement = THREADS.get(query.status, RESTING)
            bound = (query.since, query.until, query.status, [query.workflow], *want[2:])
        yield statement, bound, _keep(want, memory, lambda rows: _pairs(rows, memory))


def _pairs(rows: Iterable[tuple[Any, ...]], memory: Memory) -> list[tuple[ThreadRow, RunRow]]:
    return [(memory.thread(row), a_run(row[T + 1 :])) for row in rows]


def _thread_nos(wants: list[Want], memory: Memory) -> Statements:
    for want in wants:
        yield THREAD_NOS, want[1:], _keep(want, memory, lambda rows: [(no, read_text(name)) for no, name in rows])


def _numbers(wants: list[Want], memory: Memory) -> Statements:
    yield NUMBERS, (2 * len(wants),), lambda rows: memory.spare.extend(row[0] for row in rows)


def _keep(want: Want, memory: Memory, decode: Callable[[Iterable[tuple[Any, ...]]], Any]) -> Take:
    def take(rows: Iterable[tuple[Any, ...]]) -> None:
        memory.found[want] = decode(rows)

    return take


READERS: Final[dict[str, Callable[[list[Want], Memory], Statements]]] = {
    "open": _open,
    "run": _runs,
    "bases": _bases,
    "records": _records,
    "thread": _threads_by_no,
    "owner": _owners,
    "holders": _holders,
    "due": _due,
    "waiting": _waiting,
    "find_run": _find_runs,
    "find_key": _find_keys,
    "runs": _pages,
    "held": _held,
    "threads": _threads,
    "thread_nos": _thread_nos,
    "numbers": _numbers,
}
