"""What durably aims at, as ratios within one run: times faster than LangGraph, and times what the bare limit takes."""

from __future__ import annotations

from dataclasses import dataclass

from .cases import COLOURS, Case


@dataclass(frozen=True)
class Goal:
    """What a case should reach; None where nothing is asked for."""

    faster: float | None = None
    of_limit: float | None = None


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
RULES = (
    Rule(("empty", "one_thread"), NOT_STORED, Goal(100, 0.25), SYNC),
    Rule(("empty", "one_thread"), NOT_STORED, Goal(50, 2), ASYNC),
    Rule(("empty", "one_thread"), ("sqlite",), Goal(40, 3)),
    Rule(("sequential",), NOT_STORED, Goal(150, 0.1), SYNC),
    Rule(("sequential",), NOT_STORED, Goal(60, 1.5), ASYNC),
    Rule(("sequential",), ("sqlite-normal/async",), Goal(100)),
    Rule(("sequential",), ("sqlite-normal/sync",), Goal(25, 2)),
    Rule(("sequential",), ("sqlite-full",), Goal(5, 1.3)),
    Rule(("fan_out",), ("",), Goal(150), smallest=10_000),
    Rule(("naps",), ("",), Goal(30, 1.2), SYNC),
    Rule(("naps",), ("",), Goal(8, 1.2), ASYNC),
    Rule(("callers",), ("sqlite",), Goal(25, 1.5), SYNC, smallest=64),
    Rule(("callers",), ("sqlite",), Goal(60, 1), ASYNC, smallest=64),
    Rule(("resume",), ("",), Goal(150, 3), smallest=5_000),
    Rule(("json", "blob"), ("",), Goal(1.5, 1.3)),
    Rule(("chunks",), ("none",), Goal(2, 4)),
)


def goal_of(case: Case) -> Goal:
    """The goal of a case; an empty one where none was set."""
    return next((rule.goal for rule in RULES if rule.holds(case)), Goal())
