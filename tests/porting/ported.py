"""Run the programs beside this file, which are written for LangGraph, under LangGraph or under durably.

Each program leaves what it saw in ``seen`` and what it has to see in ``expected``; where the two libraries behave
differently on purpose, ``expected`` is a dict with an entry for each. Under durably the one word ``langgraph`` is
replaced in the import statements, and nothing else.

    python tests/porting/ported.py durably
    python tests/porting/ported.py langgraph    # in an environment that has LangGraph
"""

from __future__ import annotations

import re
import sys
import traceback
import types
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "programs"
HANGS = "Under LangGraph this program hangs."
IMPORTS = re.compile(r"^(from|import) langgraph\b", re.MULTILINE)


def programs() -> list[Path]:
    """Every program."""
    return sorted(PROGRAMS.glob("*.py"))


def ported(source: str, library: str) -> str:
    """The program with its imports from ``library``."""
    return IMPORTS.sub(rf"\1 {library}", source)


def run(path: Path, library: str) -> tuple[Any, Any]:
    """Run a program; returns what it saw and what it has to see."""
    module = types.ModuleType(f"ported_{path.stem}")
    sys.modules[module.__name__] = module
    try:
        exec(compile(ported(path.read_text(encoding="utf-8"), library), str(path), "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    seen, expected = module.__dict__["seen"], module.__dict__["expected"]
    if isinstance(expected, dict) and expected.keys() == {"langgraph", "durably"}:
        expected = expected[library]
    return seen, expected


def main(library: str) -> int:
    """Run all of them; prints what is not as expected and returns how many are not."""
    wrong = 0
    for path in programs():
        if library == "langgraph" and HANGS in path.read_text(encoding="utf-8"):
            continue
        try:
            seen, expected = run(path, library)
        except BaseException:
            seen, expected = traceback.format_exc(limit=-3), "no exception"
        if seen != expected or type(seen) is not type(expected):
            wrong += 1
            sys.stdout.write(f"{path.stem}: saw {seen}\n    instead of {expected}\n")
    sys.stdout.write(f"{wrong} of {len(programs())} programs differ under {library}\n")
    return wrong


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]) > 0)
