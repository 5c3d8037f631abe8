"""The table of ratios, and what is saved beside it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .cases import LIMITS, SCENARIOS, Case, Limit, limit, units
from .goals import IMPORT, figure_goal, goal_of
from .measure import SLOW, Results
from .systems import BARE, DBOS, DURABLY, LANGGRAPH, ROOT, System

COLUMNS = (
    "scenario",
    "size",
    "colour",
    "kept in",
    "LangGraph",
    "DBOS",
    "durably",
    "times faster",
    "goal",
    "limit",
    "durably / limit",
    "goal",
    "memory LangGraph",
    "memory durably",
    "goal",
)
FIGURE_COLUMNS = (
    *("scenario", "size", "colour", "kept in", "figure", "LangGraph", "durably", "times less", "goal"),
    *("limit", "durably / limit", "goal"),
)

EXPLAINED = (
    "Times and memory are for one run, task or turn; sleeping tasks, resumed runs and large results are timed as a whole. "
    f"What took a process longer than {SLOW} s was measured once. `!` stands at a goal that was not met."
)


def markdown(results: Results, cases: list[Case], about: dict[str, Any]) -> str:
    """The whole report."""
    machine = f"{about['cpus']} cores, Python {about['python']}, {about['platform']}"
    parts = [
        "# Benchmarks",
        f"{about['date']}, commit {about['commit']}, {machine}, {about['rounds']} rounds, medians.",
        EXPLAINED,
        table(COLUMNS, [row(results, case) for case in cases]),
        "## What the work itself counted",
        table(FIGURE_COLUMNS, figures(results, cases)),
        "## Importing `entrypoint` and `task`, and the smallest install",
        table(("system", "time", "memory", "modules", "packages", "on disk"), imports(results)),
        "## The limits",
        table(("limit", "colour", "size", "kept in", "each"), limits(results, cases)),
    ]
    if results.errors:
        parts.append("## Failed")
        parts += [f"{system}, {case}:\n\n```text\n{e}\n```" for (system, case), e in results.errors.items()]
    return "\n\n".join(parts) + "\n"


def row(results: Results, case: Case) -> list[str]:
    theirs, ours = each(results, LANGGRAPH, case), each(results, DURABLY, case)
    against, goal = limit(case), goal_of(case)
    least = reached(results, against)
    ours_memory = each(results, DURABLY, case, "memory_bytes")
    return [
        *name(case),
        duration(theirs),
        duration(each(results, DBOS, case)),
        duration(ours),
        ratio(theirs, ours),
        judged(goal.faster, quotient(theirs, ours), at_least=True),
        f"{duration(least)} {against.title}" if against else "-",
        ratio(ours, least),
        judged(goal.of_limit, quotient(ours, least), at_least=False),
        size(each(results, LANGGRAPH, case, "memory_bytes")),
        size(ours_memory),
        judged(goal.memory, ours_memory, at_least=False, shown=size),
    ]


def reached(results: Results, against: Limit | None) -> float | None:
    """The seconds that a case is held against, for one run or task."""
    parts = [
        (times, each(results, DURABLY if case.scenario in SCENARIOS else BARE, case))
        for times, case in (against.terms if against else ())
    ]
    known = [times * seconds for times, seconds in parts if seconds is not None]
    return sum(known) if known and len(known) == len(parts) else None


def name(case: Case) -> list[str]:
    return [SCENARIOS[case.scenario].title, f"{case.size:,}", case.colour, case.kept]


def judged(
    goal: float | None, found: float | None, at_least: bool, shown: Callable[[float], str] = "{:g}".format
) -> str:
    """The goal, marked where it was measured and not met."""
    if goal is None:
        return "-"
    met = found is None or (found >= goal if at_least else found <= goal)
    return f"{shown(goal)}{'' if met else ' !'}"


def figures(results: Results, cases: list[Case]) -> list[list[str]]:
    """Everything but times that a scenario reports, a row each."""
    rows = []
    for case in cases:
        theirs, ours = results.figures(LANGGRAPH, case.id), results.figures(DURABLY, case.id)
        rows += [[*name(case), *figure_row(case, figure, theirs, ours)] for figure in ours or theirs]
    return rows


def figure_row(case: Case, figure: str, theirs: dict[str, float], ours: dict[str, float]) -> list[str]:
    goal, mine = figure_goal(case, figure), ours.get(figure)
    title, _, unit = figure.rpartition(", ")
    show = size if unit == "bytes" else duration
    least = goal.limit(case, ours) if goal.limit and ours else None
    return [
        title,
        show(theirs.get(figure)),
        show(mine),
        ratio(theirs.get(figure), mine),
        judged(goal.times, quotient(theirs.get(figure), mine), at_least=True),
        f"{show(least)} {goal.title}" if goal.limit else "-",
        ratio(mine, least),
        judged(goal.of_limit, quotient(mine, least), at_least=False),
    ]


def imports(results: Results) -> list[list[str]]:
    rows = [
        [
            system.name,
            duration(results.median(system, "import")),
            size(results.median(system, "import", "memory_bytes")),
            f"{results.median(system, 'import', 'modules'):.0f}",
            f"{results.median(system, 'import', 'packages'):.0f}",
            size(results.median(system, "import", "disk_bytes")),
        ]
        for system in (LANGGRAPH, DBOS, DURABLY)
        if results.median(system, "import") is not None
    ]
    return [*rows, import_goal(results)]


def import_goal(results: Results) -> list[str]:
    """What importing durably should cost, each part of it marked where it was measured and not met."""

    def ours(what: str) -> float | None:
        return results.median(DURABLY, "import", what)

    def times(what: str, least: float) -> str:
        return judged(least, quotient(results.median(LANGGRAPH, "import", what), ours(what)), at_least=True)

    seconds = judged(IMPORT.seconds, ours("seconds"), at_least=False, shown=duration)
    return [
        "goal",
        f"{seconds}, {times('seconds', IMPORT.times_faster)} times faster",
        "-",
        "-",
        judged(IMPORT.packages, ours("packages"), at_least=False),
        f"{times('disk_bytes', IMPORT.times_smaller)} times smaller",
    ]


def limits(results: Results, cases: list[Case]) -> list[list[str]]:
    return [
        [
            LIMITS[bare.scenario],
            bare.colour,
            f"{bare.size:,}",
            bare.kept,
            duration(each(results, BARE, bare)),
        ]
        for bare in bare_cases(cases)
    ]


def bare_cases(cases: list[Case]) -> list[Case]:
    """The limits that these cases are held against, and a function call beside them."""
    terms = [term for case in cases if (against := limit(case)) for _, term in against.terms]
    found = {term: None for term in terms if term.scenario in LIMITS}
    largest = max((case.size for case in cases), default=0)
    return [Case("calls", "sync", largest), *found]


def each(results: Results, system: System, case: Case, what: str = "seconds") -> float | None:
    """The median for one run or one task of a case."""
    whole = results.median(system, case.id, what)
    return None if whole is None else whole / units(case)


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def size(count: float | None) -> str:
    if count is None:
        return "-"
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.1f} KB"


def quotient(larger: float | None, smaller: float | None) -> float | None:
    return larger / smaller if larger is not None and smaller else None


def ratio(larger: float | None, smaller: float | None) -> str:
    found = quotient(larger, smaller)
    return "-" if found is None else f"{found:.3g}"


def table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """A Markdown table that is aligned as plain text too."""
    widths = [max(len(line[i]) for line in (columns, *rows)) for i in range(len(columns))]

    def line(cells: Any) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(columns), line(["-" * width for width in widths]), *map(line, rows)])


def about(rounds: int, packages: dict[str, dict[str, str]]) -> dict[str, Any]:
    """On what, with what and when it was measured."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": commit,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "rounds": rounds,
        "packages": packages,
    }


def save(folder: Path, text: str, results: Results, cases: list[Case], facts: dict[str, Any]) -> list[Path]:
    """Write the report and every single number; returns both files."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {case.id: asdict(case) for case in [*cases, *bare_cases(cases)]}
    everything = {
        "about": facts,
        "results": [
            {"system": system, "case": known.get(case, {"scenario": case}), "rounds": rounds}
            for (system, case), rounds in results.rounds.items()
        ],
        "errors": [
            {"system": system, "case": case, "error": error} for (system, case), error in results.errors.items()
        ],
    }
    name = facts["date"].replace(" ", "-").replace(":", "")
    paths = [folder / f"{name}.md", folder / f"{name}.json"]
    paths[0].write_text(text, encoding="utf-8")
    paths[1].write_text(json.dumps(everything, indent=1), encoding="utf-8")
    return paths
