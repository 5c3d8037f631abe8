"""A program that is killed. Run by `test_crashes.py`, in processes of its own.

``crashing.py campaign DIRECTORY MODE COLOUR [PLACE]`` forks one process per attempt. Each is killed with SIGKILL at one of
the moments of the workflow (before and after every write, after every effect of a task), the next one goes on, is killed,
too, and a third one ends the run. ``crashing.py shots ...`` kills at random times instead. What went wrong is printed as
JSON. Without a place, as `savers` understands it, there is a new file for each moment.

``crashing.py hold PATH SECONDS`` runs a workflow that waits in a task until a line comes in; its lease lasts some seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from durably import entrypoint, get_runtime, task
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.sqlite import SqliteSaver
from durably.engine import owner
from durably.engine.identity import call_id
from durably.engine.journal import RETURNED, decode_records
from durably.errors import EmptyInputError, Superseded
from mortal import Bomb, mortal_on
from savers import open_saver

EXPECTED = [0, [[10, 11], [20, 21], 5, 5], 6]
THREAD = {"configurable": {"thread_id": "t"}}


class Place:
    """Where one run leaves its traces.

    Args:
        directory: for files; its name is that of the thread.
        database: as `savers` understands it; by default a file.
    """

    def __init__(self, directory: Path, database: str = "") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.database = database or str(directory / "runs.db")
        self.name = directory.name
        self.ledger = directory / "ledger"
        self.outcome = directory / "outcome"

    def note(self, line: str) -> None:
        """Write a line that survives the process."""
        handle = os.open(self.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{line}\n".encode())
        os.fsync(handle)
        os.close(handle)

    def lines(self) -> list[str]:
        """All lines so far."""
        return self.ledger.read_text().splitlines() if self.ledger.exists() else []

    def finished(self) -> set[str]:
        """The ids of the calls whose results are on disk."""
        with open_saver(self.database) as saver:
            (found,) = saver.transact([partial(_journal, self.name)])
        return found


def _journal(thread_id: str, transaction: Any) -> set[str]:
    run = transaction.open(thread_id).run
    records = [] if run is None else decode_records(transaction.records(run.no))
    return {call_id(run.run_id, record.key) for record in records if record.kind == RETURNED}


def program(place: Place, bomb: Bomb, saver: BaseCheckpointer, colour: str) -> Any:
    """The workflow."""

    def note(n: int) -> int:
        place.note(f"ran {get_runtime().execution_info.task_id}")
        bomb.moment()
        return n

    def seen(value: Any) -> Any:
        place.note("seen")
        return value

    if colour == "async":

        @task(name="work")
        async def awork(n: int) -> int:
            await asyncio.sleep(0)
            return note(n)

        @task(name="outer")
        async def aouter(n: int) -> list[int]:
            return [await awork(10 * n + i) for i in range(2)]

        @entrypoint(checkpointer=saver, name="run")
        async def arun(n: int) -> Any:
            first = seen(await awork(0))
            middle = await asyncio.gather(aouter(1), aouter(2), awork(5), awork(5))
            return [first, list(middle), seen(await awork(6))]

        return arun

    @task
    def work(n: int) -> int:
        return note(n)

    @task
    def outer(n: int) -> list[int]:
        return [work(10 * n + i).result() for i in range(2)]

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        first = seen(work(0).result())
        middle = [future.result() for future in [outer(1), outer(2), work(5), work(5)]]
        return [first, middle, seen(work(6).result())]

    return run


def live(place: Place, at: int, mode: str, colour: str) -> None:
    """One process: goes on with the run, or starts it where there is none."""
    bomb = Bomb(at)
    run = program(place, bomb, mortal_on(place.database, bomb), colour)
    try:
        result = run.invoke(None, thread_id=place.name, durability=mode)
    except EmptyInputError:
        result = run.invoke(1, thread_id=place.name, durability=mode)
    place.outcome.write_text(json.dumps(result))


def in_a_process(place: Place, at: int, mode: str, colour: str, *, after: float | None = None) -> bool:
    """Whether a process that lives came to its end, rather than being killed; after some seconds, if they are given."""
    pid = os.fork()
    if not pid:
        try:
            live(place, at, mode, colour)
        except BaseException:
            place.outcome.write_text(traceback.format_exc())
        finally:
            os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFEXITED(status)


def life_and_death(
    place: Place, deaths: list[int], mode: str, colour: str, after: list[float]
) -> tuple[list[str], int]:
    """What went wrong in a run whose processes die as told, and how many of them did."""
    problems, killed = [], 0
    for number, at in enumerate([*deaths, 0]):
        done, before = place.finished(), len(place.lines())
        ended = in_a_process(place, at, mode, colour, after=after[number] if number < len(after) else None)
        killed += not ended
        lines = place.lines()[before:]
        again = done & {line.split()[1] for line in lines if line.startswith("ran")}
        if again:
            problems.append(f"{place.name}: finished calls ran again: {sorted(again)}")
        if ended:
            break
    outcome = place.outcome.read_text() if place.outcome.exists() else "nothing"
    if outcome != json.dumps(EXPECTED):
        problems.append(f"{place.name}: ended with {outcome}")
    return problems, killed


def campaign(directory: Path, mode: str, colour: str, database: str = "") -> dict[str, Any]:
    """Die at every moment in turn, and again a little later."""
    chance = random.Random(f"{mode} {colour}")
    problems, kills, at = [], 0, 0
    while True:
        at += 1
        place = Place(directory / f"at-{at}", database)
        found, killed = life_and_death(place, [at, chance.randint(1, 9)], mode, colour, [])
        problems += found
        kills += killed
        if not killed:
            return {"moments": at - 1, "kills": kills, "problems": problems}


def shots(directory: Path, mode: str, colour: str, database: str = "") -> dict[str, Any]:
    """Die at random times."""
    chance = random.Random(f"{mode} {colour}")
    problems, kills = [], 0
    for number in range(25):
        times = [chance.uniform(0, 0.03) for _ in range(3)]
        found, killed = life_and_death(Place(directory / f"shot-{number}", database), [0, 0, 0], mode, colour, times)
        problems += found
        kills += killed
    return {"moments": 0, "kills": kills, "problems": problems}


def holding(saver: SqliteSaver, wait: bool) -> Any:
    """A workflow that waits in its second task."""

    @task
    def work(n: int) -> str:
        if n == 1 and wait:
            sys.stdout.write("holding\n")
            sys.stdout.flush()
            sys.stdin.readline()
            return "late"
        return "in time"

    @entrypoint(checkpointer=saver)
    def hold(n: int) -> Any:
        return [work(i).result() for i in range(n)]

    return hold


def hold(path: str, seconds: str) -> None:
    """Hold a thread until told to go on."""
    owner.LEASE_SECONDS = float(seconds)  # type: ignore[misc]
    with SqliteSaver(path) as saver:
        try:
            result = holding(saver, wait=True).invoke(3, THREAD, durability="sync")
        except Superseded as error:
            result = type(error).__name__
    sys.stdout.write(f"{json.dumps(result)}\n")


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "hold":
        hold(*rest)
    else:
        report = {"campaign": campaign, "shots": shots}[what](Path(rest[0]), *rest[1:])
        sys.stdout.write(json.dumps(report))
