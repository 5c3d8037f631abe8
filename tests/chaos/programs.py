"""Random programs by the thousand, each stopped at random commits of a real database and gone on with to its end.

A program is a tree of calls: sequential, gathered, nested in tasks and workflows, retried, cached, failing, asking; its
workflow is sync or async, and so is whoever invokes it. What it comes to is compared with a model, and no call that had
finished may run again. The programs, the model and the rules are those of `random_programs`.

``python tests/chaos/programs.py --seed 7 --programs 2000 --backend postgres`` prints what happened; the exit status is 1
when a rule is broken. ``--only N`` runs the program of that number again.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from ledger import judgement

from durably.cache.base import BaseCache
from durably.cache.memory import InMemoryCache
from durably.cache.sqlite import SqliteCache
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.postgres import PostgresSaver
from durably.checkpoint.sqlite import SqliteSaver
from postgres_server import Server
from random_programs import Life, random_program

MOST_KILLS = 4


@dataclass
class Report:
    """What happened, and which rules were broken."""

    seed: int
    programs: int = 0
    kills: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"seed {self.seed}: {self.seconds:.0f} s, {self.programs} programs, {self.kills} kills"
        return judgement(head, self.broken)


def live_all(saver: BaseCheckpointer, folder: Path, seed: int, numbers: range) -> Report:
    """Run programs one after the other, each on a thread of its own.

    Args:
        saver: where their runs are stored.
        folder: where a cache may be.
        seed: decides, together with its number, what a program is and when it is stopped.
        numbers: of the programs.
    """
    report, began = Report(seed), time.monotonic()
    for number in numbers:
        chance = random.Random(f"{seed} {number}")
        life = Life(
            program=random_program(chance),
            chance=chance,
            kills=chance.randint(0, MOST_KILLS),
            under=saver,
            thread_id=f"program {number}",
            cache=cache_for(saver, folder / f"cache-{number % 100}.db"),
            is_async=chance.random() < 0.7,
        )
        report.broken += [f"program {number}: {what}" for what in breaches(life)]
        report.programs += 1
        report.kills += life.died
        life.cache.clear()
        life.cache.close()
    report.seconds = time.monotonic() - began
    return report


def breaches(life: Life) -> Iterator[str]:
    """Which rules it breaks; an error that nobody expected is one."""
    try:
        yield from life.broken()
    except Exception as error:
        yield f"it failed with {error!r}"


def cache_for(saver: BaseCheckpointer, path: Path) -> BaseCache:
    """Beside a file, a file."""
    return SqliteCache(path) if isinstance(saver, SqliteSaver) else InMemoryCache()


@contextmanager
def database(backend: str, folder: Path) -> Iterator[BaseCheckpointer]:
    """An empty one."""
    if backend == "sqlite":
        with SqliteSaver(folder / "runs.db") as saver:
            yield saver
        return
    with Server() as server:
        place = server.place()
        with PostgresSaver(place.conninfo, schema=place.schema) as postgres:
            postgres.setup()
            yield postgres


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=None, help="decides what happens; printed, to be given again")
    parser.add_argument("--programs", type=int, default=1000, help="how many")
    parser.add_argument("--only", type=int, default=None, help="the number of the one to run")
    parser.add_argument("--backend", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    logging.disable()  # what is lost with a process is no news here
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    numbers = range(given.programs) if given.only is None else range(given.only, given.only + 1)
    with tempfile.TemporaryDirectory() as name, database(given.backend, Path(name)) as saver:
        report = live_all(saver, Path(name), seed, numbers)
    sys.stdout.write(f"{given.backend}, {report}\n")
    return bool(report.broken)


if __name__ == "__main__":
    sys.exit(main())
