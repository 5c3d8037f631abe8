"""Runs measurements as processes, the systems by turns, and keeps every result."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .cases import Case
from .databases import Databases
from .systems import HERE, System, note

ENOUGH = 0.3  # seconds of measured work, after which a process does not repeat it
LIMIT = 900  # seconds; only a measurement that hangs takes longer
# Imports find bytecode, as after an installation, whatever the shell of the harness says.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
SLOW = 4  # seconds; where the process of a measurement takes longer, it is measured in the first round only


@dataclass
class Results:
    """What came out, by system and case, one entry a round."""

    rounds: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, system: System, case: str, answer: dict[str, Any]) -> None:
        if "error" in answer:
            self.errors[system.name, case] = answer["error"]
        else:
            self.rounds.setdefault((system.name, case), []).append(answer)

    def again(self, system: System, case: str) -> bool:
        """Whether another round of this is worth its time."""
        slowest = max((answer["took"] for answer in self.rounds.get((system.name, case), ())), default=0)
        return slowest < SLOW and (system.name, case) not in self.errors

    def median(self, system: System, case: str, what: str = "seconds") -> float | None:
        answers = self.rounds.get((system.name, case))
        return statistics.median(answer[what] for answer in answers) if answers else None

    def figures(self, system: System, case: str) -> dict[str, float]:
        """The medians of what the work itself counted."""
        rounds = [answer.get("figures", {}) for answer in self.rounds.get((system.name, case), ())]
        return {name: statistics.median(found[name] for found in rounds) for name in (rounds[0] if rounds else ())}


def measure_all(
    pythons: dict[System, str],
    cases: dict[System, list[Case]],
    rounds: int,
    databases: Databases,
    enough: float = ENOUGH,
) -> Results:
    """Every case of every system, as often as there are rounds. The systems take turns within each round."""
    results = Results()
    try:
        for number in range(1, rounds + 1):
            measure_once(pythons, cases, results, databases, enough, f"round {number}/{rounds}")
    except KeyboardInterrupt:
        note("interrupted: what was measured until then counts")
    return results


def measure_once(
    pythons: dict[System, str],
    cases: dict[System, list[Case]],
    results: Results,
    databases: Databases,
    enough: float,
    label: str,
) -> None:
    """One round."""
    for system in pythons:
        if system.imports:
            results.add(system, "import", import_cost(system, pythons[system]))
    for case, systems in by_turns(cases):
        for system in systems:
            if results.again(system, case.id):
                database = databases.empty() if case.backend == "postgres" else None
                answer = measure(system, pythons[system], case, database, enough)
                results.add(system, case.id, answer)
                note(f"{label}  {case.id:44} {system.name:10} {brief(answer)}")


def by_turns(cases: dict[System, list[Case]]) -> Iterable[tuple[Case, list[System]]]:
    turns: dict[Case, list[System]] = {}
    for system, wanted in cases.items():
        for case in wanted:
            turns.setdefault(case, []).append(system)
    return turns.items()


def measure(system: System, python: str, case: Case, database: str | None, enough: float) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    request = {
        "program": str(system.path),
        "module": system.module,
        "scenario": case.scenario,
        "colour": case.colour,
        "size": case.size,
        "backend": case.backend,
        "durability": case.durability,
        "database": database,
        "enough": enough,
    }
    return answer_of([python, str(HERE / "worker.py"), json.dumps(request)])


def import_cost(system: System, python: str) -> dict[str, Any]:
    return answer_of([python, str(HERE / "footprint.py"), system.module])


def answer_of(command: list[str]) -> dict[str, Any]:
    """The last line that a process prints and how many seconds it took, or its error."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, cwd=HERE, env=ENVIRONMENT
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {LIMIT} s"}
    if done.returncode:
        return {"error": done.stderr[-2_000:] or f"exit status {done.returncode}"}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer | {"took": time.monotonic() - began}


def brief(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return "FAILED: " + str(answer["error"]).strip().rpartition("\n")[2]
    return f"{answer['seconds']:.4f} s in {answer['took']:.1f} s"
