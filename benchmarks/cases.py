"""What is measured: the table of cases, and the bare limit each one is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# The same scenarios at three sizes. "tiny" only shows that the harness works.
SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    "full": {
        "empty": (1_000,),
        "one_thread": (1_000,),
        "sequential": (1_000,),
        "fan_out": (100, 1_000, 10_000),
        "naps": (1_000,),
    },
    "quick": {
        "empty": (100,),
        "one_thread": (100,),
        "sequential": (200,),
        "fan_out": (100, 1_000),
        "naps": (100,),
    },
    "tiny": {"empty": (2,), "one_thread": (2,), "sequential": (3,), "fan_out": (3,), "naps": (2,)},
}

TITLES = {
    "empty": "empty workflow, new threads",
    "one_thread": "empty workflow, one thread",
    "sequential": "sequential tasks",
    "fan_out": "fan-out",
    "naps": "tasks that sleep 50 ms",
}

# Where results are kept, and when a run may go on. What a SQLite commit waits for is the same on both sides:
# with NORMAL for the operating system, with FULL for the disk.
PERSISTENCE: tuple[tuple[str, str | None], ...] = (
    ("none", None),
    ("memory", "async"),
    ("sqlite-normal", "async"),
    ("sqlite-full", "sync"),
)
COLOURS = ("sync", "async")


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


def cases(size: str) -> Iterator[Case]:
    """Every case of a size, in the order of the report."""
    for scenario, counts in SIZES[size].items():
        for backend, durability in PERSISTENCE:
            if scenario == "naps" and backend not in ("none", "sqlite-normal"):
                continue  # the sleep is what is measured
            for colour in COLOURS:
                for count in counts:
                    yield Case(scenario, colour, count, backend, durability)


def limit(case: Case) -> Case:
    """What the standard library alone needs for work of that shape."""
    if case.scenario == "naps":
        name = "threads_napping" if case.colour == "sync" else "napping"
        return Case(name, case.colour, case.size)
    if case.backend.startswith("sqlite"):
        one_commit = case.scenario in ("empty", "one_thread") or case.durability == "sync"
        return Case("insert" if one_commit else "batched_rows", "sync", case.size, case.backend)
    if case.scenario == "fan_out":
        name = "pool_fan_out" if case.colour == "sync" else "gather"
        return Case(name, case.colour, case.size)
    return Case("pool" if case.colour == "sync" else "create_task", case.colour, case.size)


LIMITS = {
    "calls": "function call",
    "pool": "pool submit and result",
    "create_task": "create_task and await",
    "pool_fan_out": "pool submits, then results",
    "gather": "gather of tasks",
    "insert": "insert and commit",
    "batched_rows": "row in one transaction",
    "threads_napping": "bare threads",
    "napping": "asyncio.sleep",
}
