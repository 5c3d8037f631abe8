"""What is measured: the table of scenarios, and the bare limit that each case is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Size = Literal["full", "quick", "tiny"]
COLOURS = ("sync", "async")


@dataclass(frozen=True)
class Kept:
    """Where results are kept, and when a run may go on."""

    backend: str
    durability: str | None
    title: str


# What a commit waits for is the same on both sides: with NORMAL for the operating system, with FULL for the disk.
NOWHERE = Kept("none", None, "-")
MEMORY = Kept("memory", "async", "memory")
SQLITE = Kept("sqlite-normal", "async", "SQLite, async, NORMAL")
SQLITE_SYNC = Kept("sqlite-normal", "sync", "SQLite, sync, NORMAL")
SQLITE_FULL = Kept("sqlite-full", "sync", "SQLite, sync, FULL")
EVERYWHERE = (NOWHERE, MEMORY, SQLITE, SQLITE_FULL)
DATABASES = (SQLITE, SQLITE_FULL)


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
        return next(titles, {"sqlite-normal": "SQLite, NORMAL", "sqlite-full": "SQLite, FULL"}.get(self.backend, "-"))


def of_size(size: int) -> int:
    return size


def together(size: int) -> int:
    return 1


@dataclass(frozen=True)
class Scenario:
    """One shape of work, in the programs a function of this name, and with ``async_`` in front one for the other colour.

    Args:
        title: as the table says it.
        limit: the bare work that a case is held against.
        full, quick, tiny: its sizes. "tiny" only shows that the harness works.
        ours: sizes that only durably is measured at, as the others would take too long.
        kept: where results are kept.
        units: over how many units the time of a size is divided.
    """

    title: str
    limit: Callable[[Case], Case | None]
    full: tuple[int, ...]
    quick: tuple[int, ...]
    tiny: tuple[int, ...] = (2,)
    ours: tuple[int, ...] = ()
    kept: tuple[Kept, ...] = EVERYWHERE
    units: Callable[[int], int] = of_size


# ---------------------------------------------------------------------------------------------------- limits


def one_commit_each(case: Case) -> Case:
    """A call on a thread or an asyncio task, or a row inserted and committed."""
    if case.backend.startswith("sqlite"):
        return Case("insert", "sync", case.size, case.backend)
    return Case("pool" if case.colour == "sync" else "create_task", case.colour, case.size)


def one_commit_each_if_sync(case: Case) -> Case:
    """As above, but with durability `async` a row in one transaction with the others."""
    if case.backend.startswith("sqlite") and case.durability == "async":
        return Case("batched_rows", "sync", case.size, case.backend)
    return one_commit_each(case)


def side_by_side(case: Case) -> Case:
    if case.backend != "none" and case.backend != "memory":
        return one_commit_each_if_sync(case)
    return Case("pool_fan_out" if case.colour == "sync" else "gather", case.colour, case.size)


def sleeping(case: Case) -> Case:
    return Case("threads_napping" if case.colour == "sync" else "napping", case.colour, case.size)


def rows_of_a_workflow(case: Case) -> Case | None:
    """One row of three results, inserted and committed."""
    return Case("insert_results", "sync", RUNS, case.backend) if case.backend.startswith("sqlite") else None


def rows_read(case: Case) -> Case:
    return Case("select_rows", "sync", case.size, "sqlite-normal")


def encoded_and_written(case: Case) -> Case:
    return Case(f"insert_{case.scenario}", "sync", case.size, case.backend)


def through_a_queue(case: Case) -> Case:
    return Case("queue", case.colour, case.size)


def nothing(case: Case) -> None:
    return None


RUNS = 256  # workflows, whatever the number of callers

SCENARIOS = {
    "empty": Scenario("empty workflow, new threads", one_commit_each, (1_000,), (100,)),
    "one_thread": Scenario("empty workflow, one thread", one_commit_each, (1_000,), (100,)),
    "sequential": Scenario(
        "sequential tasks",
        one_commit_each_if_sync,
        (1_000, 10_000),
        (200,),
        kept=(NOWHERE, MEMORY, SQLITE, SQLITE_SYNC, SQLITE_FULL),
    ),
    "fan_out": Scenario("fan-out", side_by_side, (100, 1_000, 10_000), (100, 1_000), ours=(100_000,)),
    "naps": Scenario("tasks that sleep 50 ms", sleeping, (1_000,), (100,), kept=(NOWHERE, SQLITE), units=together),
    "callers": Scenario(
        "workflows of 3 tasks, by callers",
        rows_of_a_workflow,
        (1, 8, 64),
        (1, 8),
        kept=DATABASES,
        units=lambda size: RUNS,
    ),
    "resume": Scenario(
        "resume, by recorded tasks", rows_read, (100, 1_000, 5_000), (100,), kept=(MEMORY, SQLITE), units=together
    ),
    "chat": Scenario("a chat's turn of 1 KB", nothing, (500, 1_000), (50,), kept=(MEMORY, SQLITE)),
    "graph_loop": Scenario(
        "steps of a graph", one_commit_each_if_sync, (1_000,), (100,), kept=(NOWHERE, MEMORY, SQLITE)
    ),
    "graph_sends": Scenario("Sends of one step", side_by_side, (1_000,), (100,), kept=(NOWHERE, MEMORY, SQLITE)),
    "json": Scenario("a task's JSON of so many MB", encoded_and_written, (1, 10), (1,), (1,), kept=(SQLITE,)),
    "blob": Scenario("a task's bytes, so many MB", encoded_and_written, (1, 10), (1,), (1,), kept=(SQLITE,)),
    "chunks": Scenario("chunks of a stream", through_a_queue, (10_000,), (2_000,), kept=(NOWHERE,)),
    "paced_chunks": Scenario("chunks, one a millisecond", nothing, (1_000,), (200,), kept=(NOWHERE,)),
}

ALL_KEPT = (NOWHERE, MEMORY, SQLITE, SQLITE_SYNC, SQLITE_FULL)

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


def limit(case: Case) -> Case | None:
    """What the standard library alone needs for work of that shape."""
    return SCENARIOS[case.scenario].limit(case)


def units(case: Case) -> int:
    """Over how many units the time of a case is divided."""
    if case.scenario in SCENARIOS:
        return SCENARIOS[case.scenario].units(case.size)
    return 1 if case.scenario in WHOLE else case.size
