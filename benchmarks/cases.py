"""What is measured: the table of scenarios, and the bare limit that each case is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

Size = Literal["full", "quick", "tiny"]
COLOURS = ("sync", "async")


@dataclass(frozen=True)
class Kept:
    """Where results are kept, and when a run may go on."""

    backend: str
    durability: str | None
    title: str


# What a commit waits for is the same on both sides: on SQLite with NORMAL for the operating system, with FULL for the disk;
# on PostgreSQL always for the disk.
NOWHERE = Kept("none", None, "-")
MEMORY = Kept("memory", "async", "memory")
SQLITE = Kept("sqlite-normal", "async", "SQLite, async, NORMAL")
SQLITE_SYNC = Kept("sqlite-normal", "sync", "SQLite, sync, NORMAL")
SQLITE_FULL = Kept("sqlite-full", "sync", "SQLite, sync, FULL")
POSTGRES = Kept("postgres", "async", "Postgres, async")
POSTGRES_SYNC = Kept("postgres", "sync", "Postgres, sync")
ALL_KEPT = (NOWHERE, MEMORY, SQLITE, SQLITE_SYNC, SQLITE_FULL, POSTGRES, POSTGRES_SYNC)

BARE_TITLES = {"sqlite-normal": "SQLite, NORMAL", "sqlite-full": "SQLite, FULL", "postgres": "Postgres"}


@dataclass(frozen=True)
class Case:
    """One measurement: a scenario of the programs in one colour, of one size, on one backend."""

    scenario: str
    colour: str
    size: int
    backend: str = "none"
    durability: str | None = None

    @property
    def id(self) -> str:
        parts = (self.scenario, self.colour, str(self.size), self.backend, self.durability)
        return "/".join(part for part in parts if part)

    @property
    def kept(self) -> str:
        """Where its results are kept, as a table says it."""
        titles = (kept.title for kept in ALL_KEPT if (kept.backend, kept.durability) == (self.backend, self.durability))
        return next(titles, BARE_TITLES.get(self.backend, "-"))

    @property
    def has_database(self) -> bool:
        """Whether results are kept in a database."""
        return self.backend not in ("none", "memory")


@dataclass(frozen=True)
class Limit:
    """What a case is held against: what other cases take, bare ones or durably's own, each so many times, together."""

    title: str
    terms: tuple[tuple[float, Case], ...]


def of_size(size: int) -> int:
    return size


def together(size: int) -> int:
    return 1


def runs_of(callers: int) -> int:
    """How many workflows so many callers run together."""
    return max(64, 4 * callers)


@dataclass(frozen=True)
class Scenario:
    """One shape of work, in the programs a function of this name, and with ``async_`` in front one for the other colour.

    Args:
        title: as the table says it.
        limit: what a case is held against.
        full, quick, tiny: its sizes. "tiny" only shows that the harness works.
        ours: sizes that only durably is measured at, as the others would take too long.
        kept: where results are kept.
        units: over how many units the time of a size is divided.
    """

    title: str
    limit: Callable[[Case], Limit | None]
    full: tuple[int, ...]
    quick: tuple[int, ...]
    tiny: tuple[int, ...] = (2,)
    ours: tuple[int, ...] = ()
    kept: tuple[Kept, ...] = (NOWHERE, MEMORY, SQLITE, POSTGRES)
    units: Callable[[int], int] = of_size


# ---------------------------------------------------------------------------------------------------- limits


def once(bare: Case) -> Limit:
    """The bare work itself."""
    return Limit(LIMITS[bare.scenario], ((1, bare),))


def call(case: Case) -> Case:
    """A call on a thread or an asyncio task."""
    return Case("pool" if case.colour == "sync" else "create_task", case.colour, case.size)


def commit(case: Case) -> Case:
    """A row inserted and committed."""
    return Case("insert", "sync", case.size, case.backend)


def row(case: Case) -> Case:
    """A row in one transaction with others."""
    return Case("batched_rows", "sync", case.size, case.backend)


def two_commits(case: Case) -> Limit:
    """What a run needs that is found again after a crash: to be accepted, and to be done."""
    return Limit("two commits", ((2, commit(case)),)) if case.has_database else once(call(case))


def one_commit_each(case: Case) -> Limit:
    return once(commit(case) if case.has_database else call(case))


def recorded_one_by_one(case: Case) -> Limit:
    """With durability `async`, what it costs in memory and two rows in the database."""
    if not case.has_database or case.durability == "sync":
        return one_commit_each(case)
    in_memory = Case(case.scenario, case.colour, case.size, MEMORY.backend, MEMORY.durability)
    return Limit("durably in memory, and 2 rows", ((1, in_memory), (2, row(case))))


def side_by_side(case: Case) -> Limit:
    if case.size in SCENARIOS["fan_out"].ours:
        return Limit("durably at 1,000", ((1, replace(case, size=1_000)),))
    if case.has_database:
        return once(row(case))
    return once(Case("pool_fan_out" if case.colour == "sync" else "gather", case.colour, case.size))


def sleeping(case: Case) -> Limit:
    return once(Case("threads_napping" if case.colour == "sync" else "napping", case.colour, case.size))


def rows_of_a_workflow(case: Case) -> Limit:
    """One row of three results, inserted and committed; on PostgreSQL by as many callers, each with its connection."""
    if case.backend == "postgres":
        return once(Case("insert_results", case.colour, case.size, case.backend))
    return once(Case("insert_results", "sync", 1, case.backend))


def rows_read(case: Case) -> Limit:
    return once(Case("select_rows", "sync", case.size, case.backend if case.has_database else SQLITE.backend))


def encoded_and_written(case: Case) -> Limit:
    return once(Case(f"insert_{case.scenario}", "sync", case.size, case.backend))


def through_a_queue(case: Case) -> Limit:
    return once(Case("queue", case.colour, case.size))


def nothing(case: Case) -> None:
    return None


SCENARIOS = {
    "empty": Scenario(
        "empty workflow, new threads",
        two_commits,
        (1_000,),
        (100,),
        kept=(NOWHERE, MEMORY, SQLITE, SQLITE_FULL, POSTGRES),
    ),
    "one_thread": Scenario("empty workflow, one thread", two_commits, (1_000,), (100,)),
    "sequential": Scenario("sequential tasks", recorded_one_by_one, (1_000,), (200,), ours=(10_000,), kept=ALL_KEPT),
    "fan_out": Scenario(
        "fan-out",
        side_by_side,
        (100, 1_000, 10_000),
        (1_000,),
        ours=(100_000,),
        kept=(NOWHERE, MEMORY, SQLITE),
    ),
    "naps": Scenario("tasks that sleep 50 ms", sleeping, (1_000,), (100,), kept=(NOWHERE, SQLITE), units=together),
    "callers": Scenario(
        "workflows of 3 tasks, by callers",
        rows_of_a_workflow,
        (1, 8, 64),
        (8,),
        kept=(SQLITE, SQLITE_FULL, POSTGRES),
        units=runs_of,
    ),
    "resume": Scenario(
        "resume, by recorded tasks",
        rows_read,
        (100, 1_000, 5_000),
        (100,),
        kept=(MEMORY, SQLITE, POSTGRES),
        units=together,
    ),
    "chat": Scenario("a chat's turn of 1 KB", nothing, (500,), (50,), ours=(1_000,), kept=(SQLITE, POSTGRES)),
    "graph_loop": Scenario("steps of a graph", one_commit_each, (1_000,), (100,), kept=(NOWHERE, SQLITE)),
    "graph_sends": Scenario("Sends of one step", side_by_side, (1_000,), (100,), kept=(NOWHERE, SQLITE)),
    "json": Scenario(
        "a task's JSON of so many MB", encoded_and_written, (1, 10), (1,), (1,), kept=(SQLITE,), units=together
    ),
    "blob": Scenario(
        "a task's bytes, so many MB", encoded_and_written, (1, 10), (1,), (1,), kept=(SQLITE,), units=together
    ),
    "chunks": Scenario("chunks of a stream", through_a_queue, (10_000,), (2_000,), kept=(NOWHERE,)),
    "paced_chunks": Scenario("chunks, one a millisecond", nothing, (1_000,), (200,), kept=(NOWHERE,)),
}

LIMITS = {
    "calls": "function call",
    "pool": "pool submit and result",
    "create_task": "create_task and await",
    "pool_fan_out": "pool submits, then results",
    "gather": "gather of tasks",
    "insert": "insert and commit",
    "insert_results": "insert and commit of 3 KB",
    "batched_rows": "row in one transaction",
    "select_rows": "one select, and a loop over its rows",
    "insert_json": "encode, insert and commit",
    "insert_blob": "encode, insert and commit",
    "queue": "put in a queue and get",
    "threads_napping": "bare threads",
    "napping": "asyncio.sleep",
}

# Timed together with the scenario beside them.
WHOLE = ("threads_napping", "napping", "select_rows", "insert_json", "insert_blob")


def cases(size: Size) -> Iterator[Case]:
    """Every case of a size, in the order of the report."""
    for name, scenario in SCENARIOS.items():
        counts = getattr(scenario, size) + (scenario.ours if size == "full" else ())
        for kept in scenario.kept:
            for colour in COLOURS:
                for count in counts:
                    yield Case(name, colour, count, kept.backend, kept.durability)


def ours_alone(case: Case) -> bool:
    """Whether only durably is measured."""
    return case.size in SCENARIOS[case.scenario].ours


def limit(case: Case) -> Limit | None:
    """What a case is held against."""
    return SCENARIOS[case.scenario].limit(case)


def units(case: Case) -> int:
    """Over how many units the time of a case is divided."""
    if case.scenario in SCENARIOS:
        return SCENARIOS[case.scenario].units(case.size)
    if case.scenario == "insert_results":
        return runs_of(case.size)
    return 1 if case.scenario in WHOLE else case.size
