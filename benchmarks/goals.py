"""What durably aims at, as ratios within one run: times better than LangGraph, and times what the limit takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .cases import COLOURS, Case

KB = 1_000
TURN = 1_025  # bytes that a turn of a chat adds, in base 85
MILLISECOND = 1e-3


@dataclass(frozen=True)
class Goal:
    """What a case should reach; None where nothing is asked for. `memory` is in bytes for each task."""

    faster: float | None = None
    of_limit: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Rule:
    """A goal, and the cases it is for: by scenario, by backend with durability, by colour, from a size on."""

    scenarios: tuple[str, ...]
    kept: tuple[str, ...]
    goal: Goal
    colours: tuple[str, ...] = COLOURS
    smallest: int = 0

    def holds(self, case: Case) -> bool:
        return (
            case.scenario in self.scenarios
            and f"{case.backend}/{case.durability}".startswith(self.kept)
            and case.colour in self.colours
            and case.size >= self.smallest
        )


SYNC, ASYNC = ("sync",), ("async",)
NOT_STORED = ("none", "memory")
EVERYWHERE = ("",)
# The first that holds is the goal of a case.
RULES = (
    Rule(("empty", "one_thread"), NOT_STORED, Goal(100, 0.25), SYNC),
    Rule(("empty", "one_thread"), NOT_STORED, Goal(50, 2), ASYNC),
    Rule(("empty", "one_thread"), ("sqlite",), Goal(40, 1.5)),
    Rule(("empty", "one_thread"), ("postgres",), Goal(10, 1.5)),
    Rule(("sequential",), NOT_STORED, Goal(150, 0.1), SYNC),
    Rule(("sequential",), NOT_STORED, Goal(60, 1.5), ASYNC),
    Rule(("sequential",), ("sqlite-normal/async", "postgres/async"), Goal(100, 1)),
    Rule(("sequential",), ("sqlite-normal/sync",), Goal(25, 2)),
    Rule(("sequential",), ("sqlite-full/sync", "postgres/sync"), Goal(5, 1.3)),
    Rule(("fan_out",), EVERYWHERE, Goal(of_limit=2, memory=3 * KB), smallest=100_000),
    Rule(("fan_out",), EVERYWHERE, Goal(150, memory=3 * KB), smallest=10_000),
    Rule(("fan_out",), EVERYWHERE, Goal(memory=3 * KB), smallest=1_000),
    Rule(("naps",), EVERYWHERE, Goal(30, 1.2), SYNC),
    Rule(("naps",), EVERYWHERE, Goal(8, 1.2), ASYNC),
    Rule(("callers",), ("sqlite-normal/async",), Goal(25), SYNC, smallest=64),
    Rule(("callers",), ("sqlite-normal/async",), Goal(60), ASYNC, smallest=64),
    Rule(("callers",), ("sqlite-full/sync",), Goal(of_limit=1.5), SYNC, smallest=64),
    Rule(("callers",), ("sqlite-full/sync",), Goal(of_limit=1), ASYNC, smallest=64),
    Rule(("callers",), ("postgres/async",), Goal(25, 1.5), SYNC, smallest=64),
    Rule(("callers",), ("postgres/async",), Goal(60, 1), ASYNC, smallest=64),
    Rule(("resume",), EVERYWHERE, Goal(150, 3), smallest=5_000),
    Rule(("json", "blob"), EVERYWHERE, Goal(1.5, 1.3)),
    Rule(("chunks",), EVERYWHERE, Goal(2, 4)),
)


def goal_of(case: Case) -> Goal:
    """The goal of a case; an empty one where none was set."""
    return next((rule.goal for rule in RULES if rule.holds(case)), Goal())


@dataclass(frozen=True)
class FigureGoal:
    """What something that the work itself has counted should reach.

    Args:
        times: how many times smaller than LangGraph's it should be.
        limit: what it is held against, made of the case and everything that its work has counted.
        title: what that is.
        of_limit: how many times the limit it may be.
    """

    times: float | None = None
    limit: Callable[[Case, Mapping[str, float]], float] | None = None
    title: str = ""
    of_limit: float | None = None


def near_and_reading(case: Case, counted: Mapping[str, float]) -> float:
    return 2 * counted["turns 10 to 20, s"] + counted["reading the value, s"]


DELAY = FigureGoal(None, lambda case, counted: MILLISECOND, "1 ms", 1)
FIGURES = {
    ("chat", "stored, bytes"): FigureGoal(200, lambda case, counted: case.size * TURN, "what was added", 1.5),
    ("chat", "last ten turns, s"): FigureGoal(None, near_and_reading, "2 turns 10, and reading the value", 1),
    ("chunks", "time to the first chunk, s"): FigureGoal(8),
    ("chunks", "from the writer to the reader, median, s"): DELAY,
    ("paced_chunks", "from the writer to the reader, median, s"): DELAY,
}


def figure_goal(case: Case, figure: str) -> FigureGoal:
    """The goal of something counted; an empty one where none was set."""
    return FIGURES.get((case.scenario, figure), FigureGoal())


@dataclass(frozen=True)
class ImportGoal:
    """What importing the library, and its smallest install, may cost."""

    seconds: float = 0.11
    times_faster: float = 8
    packages: int = 5
    times_smaller: float = 10


IMPORT = ImportGoal()
