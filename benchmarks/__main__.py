"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from .cases import Case, Size, cases, ours_alone
from .databases import Databases
from .measure import ENOUGH, measure_all
from .report import about, bare_cases, markdown, save
from .systems import BARE, DURABLY, HERE, PLOTS, SERVER, SYSTEMS, System, note, python_of, versions


def main() -> int:
    arguments = parse()
    size: Size = "tiny" if arguments.tiny else "quick" if arguments.quick else "full"
    rounds = arguments.rounds or (3 if size == "full" else 1)
    wanted = [case for case in cases(size) if not arguments.only or any(t in case.id for t in arguments.only)]
    if not wanted:
        note(f"no case has any of {arguments.only} in its name; the names are:")
        note("\n".join(case.id for case in cases(size)))
        return 2
    systems = [SYSTEMS[name] for name in arguments.system or SYSTEMS]
    pythons = {system: environment(system, arguments.here) for system in systems}
    shares = {system: share(system, wanted) for system in systems}
    with Databases(lambda: environment(SERVER, arguments.here)) as databases:
        results = measure_all(pythons, shares, rounds, databases, enough=0 if arguments.tiny else ENOUGH)
    packages = {system.name: versions(python) for system, python in pythons.items()}
    facts = about(rounds, packages)
    text = markdown(results, wanted, facts)
    print(text)
    saved = save(arguments.output, text, results, wanted, facts)
    note("saved " + " and ".join(map(str, saved)))
    if arguments.plots:
        subprocess.run([python_of(PLOTS), str(PLOTS.path), str(saved[-1])], check=True)
    return 1 if results.errors else 0


def share(system: System, wanted: list[Case]) -> list[Case]:
    if system is BARE:
        return bare_cases(wanted)
    return [
        case
        for case in wanted
        if case.backend.startswith(system.backends)
        and case.size <= system.largest
        and system.has(case)
        and (system is DURABLY or not ours_alone(case))
    ]


def environment(system: System, here: bool) -> str:
    return sys.executable if here and system in (DURABLY, BARE, SERVER) else python_of(system)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure durably beside LangGraph and the bare limits."
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes, one round")
    size.add_argument("--tiny", action="store_true", help="only to see that it works, not for its numbers")
    parser.add_argument("--rounds", type=int, help="how often everything is measured; 3, with --quick 1")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cases with one of these in their name")
    parser.add_argument("--system", nargs="+", choices=list(SYSTEMS), help="instead of all of them")
    parser.add_argument(
        "--here", action="store_true", help="measure durably and the limits in the Python that runs this"
    )
    parser.add_argument("--plots", action="store_true", help="draw cost against size, too, as SVG")
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="FOLDER")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
