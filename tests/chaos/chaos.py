"""Kills workers at random moments, and judges what they did by a ledger.

Some worker processes run workflows on the threads of one SQLite file: they start runs under idempotency keys, answer
questions, and recover what others have left. A supervisor kills one after the other at random moments and starts new
ones. Tasks append to a ledger when they begin and end, workflows when they have seen a result, the supervisor when it has
killed somebody; the ledger is a file that nobody reads before the end.

At the end every run that was accepted must be done, exactly once, each thread must have counted every run, and every
call that was begun again must have been under way in a process that was killed. In durability ``sync`` no call whose
result the workflow had seen may begin again.

``python tests/chaos/chaos.py --seconds 60 --seed 7`` prints what happened; the exit status is 1 when a rule is broken.
The seed decides which moments and which victims are picked; what the machine makes of them differs from run to run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from durably import Command, Workflow, entrypoint, get_runtime, interrupt, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import AlreadyAnswered, EmptyInputError, ThreadBusy, UnknownInterruptError

THREADS = tuple(f"t{number}" for number in range(12))
AT_ONCE = 4
RACES = (ThreadBusy, EmptyInputError, UnknownInterruptError, AlreadyAnswered)
"""What a worker hears where another one was faster."""


class Ledger:
    """Lines that many processes append, each whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, *words: object) -> None:
        """Append a line; it is in the file before this returns, so that it outlives the process."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, (" ".join(map(str, words)) + "\n").encode())
        os.close(file)

    def read(self) -> list[list[str]]:
        """All lines, split into words."""
        return [line.split() for line in self.path.read_text().splitlines()]


# The workflow.


def build(saver: SqliteSaver, ledger: Ledger) -> tuple[Workflow[int, list[int]], Workflow[int, list[int]]]:
    """The same workflow in both colours; workers take turns with them on the same runs."""

    def begin() -> str:
        call_id = get_runtime().call_id
        ledger.note("begin", call_id, os.getpid())
        return call_id

    @task
    def step(seconds: float) -> str:
        call_id = begin()
        time.sleep(seconds)
        ledger.note("end", call_id)
        return call_id

    @task
    async def astep(seconds: float) -> str:
        call_id = begin()
        await asyncio.sleep(seconds)
        ledger.note("end", call_id)
        return call_id

    @task
    def both(seconds: float) -> str:
        for future in (step(seconds), astep(seconds)):
            ledger.note("seen", future.result())
        return begin()

    def calls(number: int) -> list[Any]:
        return [step(0.002 * (number % 3)), both(0.001), astep(0.003)]

    @entrypoint(checkpointer=saver, name="count", on_busy="enqueue")
    def count(number: int, *, previous: list[int] | None = None) -> list[int]:
        for future in calls(number):
            ledger.note("seen", future.result())
        if number % 4 == 1:
            assert interrupt(f"{number}?") == number
        ledger.note("seen", step(0.001).result())
        return [*(previous or ()), number]

    @entrypoint(checkpointer=saver, name="count", on_busy="enqueue")
    async def acount(number: int, *, previous: list[int] | None = None) -> list[int]:
        for future in calls(number):
            ledger.note("seen", await future)
        if number % 4 == 1:
            assert interrupt(f"{number}?") == number
        ledger.note("seen", await step(0.001))
        return [*(previous or ()), number]

    return count, acount


# A worker.


def work(folder: Path, seed: int) -> None:
    """Advance threads, several at a time, until there is a file named ``stop``."""
    with SqliteSaver(folder / "runs.db") as saver, ThreadPoolExecutor(AT_ONCE) as executor:
        flows = build(saver, Ledger(folder / "ledger"))

        def go_on(seed: int) -> None:
            chance = random.Random(seed)
            while not (folder / "stop").exists():
                if chance.random() < 0.05:
                    flows[0].recover()
                try:
                    advance(flows[chance.randrange(2)], chance.choice(THREADS))
                except RACES:
                    pass

        list(executor.map(go_on, range(seed, seed + AT_ONCE)))


def advance(flow: Workflow[int, list[int]], thread: str) -> None:
    """Bring a thread one run further: answer what it asks, or start the run that comes next."""
    state = flow.get_state(thread_id=thread)
    done = state.values or []
    durability: Any = "sync" if THREADS.index(thread) % 2 else "async"
    if state.interrupts:
        answers = {question.id: int(question.value.rstrip("?")) for question in state.interrupts}
        invoke(flow, Command(resume=answers), thread_id=thread, durability=durability)
    else:
        key = f"{thread}:{len(done)}"
        invoke(flow, len(done), thread_id=thread, durability=durability, idempotency_key=key)


def invoke(flow: Workflow[int, list[int]], given: Any, **how: Any) -> Any:
    """In the workflow's own colour."""
    return asyncio.run(flow.ainvoke(given, **how)) if flow._function.is_async else flow.invoke(given, **how)


# The supervisor and the judge.


@dataclass
class Verdict:
    """What happened, and which rules were broken."""

    seed: int
    kills: int = 0
    runs: int = 0
    calls: int = 0
    repeated: int = 0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.kills} kills, {self.runs} runs, {self.calls} calls, {self.repeated} begun again",
            *self.broken[:20],
            "every rule holds" if not self.broken else f"{len(self.broken)} breaches",
        ]
        return "\n".join(lines)


def run(folder: Path, *, seconds: float, seed: int, workers: int = 3) -> Verdict:
    """Let chaos reign for some seconds, clear up, and judge."""
    chance, ledger, number = random.Random(seed), Ledger(folder / "ledger"), 0

    def start() -> subprocess.Popen[bytes]:
        nonlocal number
        number += 1
        return subprocess.Popen([sys.executable, __file__, "--work", str(folder), "--seed", str(seed + 100 * number)])

    crew = [start() for _ in range(workers)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.2, 2.0) / workers)
        victim = chance.randrange(workers)
        if not (folder / "ledger").exists():
            continue
        crew[victim].kill()
        crew[victim].wait()
        ledger.note("kill", crew[victim].pid)
        crew[victim] = start()
    (folder / "stop").touch()
    failed = [worker.returncode for worker in crew if worker.wait()]
    verdict = judge(folder, seed)
    verdict.broken += [f"a worker ended with status {status}" for status in failed]
    return verdict


def judge(folder: Path, seed: int) -> Verdict:
    """Finish what is open, and compare the database with the ledger."""
    verdict, ledger = Verdict(seed), Ledger(folder / "ledger")
    with SqliteSaver(folder / "runs.db") as saver:
        count, _ = build(saver, ledger)
        count.recover()
        for thread in THREADS:
            if count.get_state(thread_id=thread).interrupts:
                advance(count, thread)
        verdict.broken += broken_threads(count, verdict)
        sync = {
            call.id for thread in THREADS[1::2] for each in count.runs(thread, limit=1_000_000) for call in each.calls()
        }
    verdict.broken += broken_calls(ledger.read(), sync, verdict)
    return verdict


def broken_threads(count: Workflow[int, list[int]], verdict: Verdict) -> Iterator[str]:
    """Every accepted run is done, and was done once."""
    for thread in THREADS:
        runs = count.runs(thread, limit=1_000_000)
        verdict.runs += len(runs)
        for each in runs:
            if each.status != "done":
                yield f"run {each.run_id} on {thread} is {each.status}"
            keys = [call.key for call in each.calls() if call.status == "returned"]
            if len(keys) != len(set(keys)):
                yield f"run {each.run_id} on {thread} has recorded a call twice"
        values = count.get_state(thread_id=thread).values or []
        if values != list(range(len(runs))):
            yield f"{thread} has {len(runs)} runs and counted {values}"


def broken_calls(lines: list[list[str]], sync: set[str], verdict: Verdict) -> Iterator[str]:
    """Whatever was begun again was under way, or not yet written, in a process that was killed."""
    killed = {words[1] for words in lines if words[0] == "kill"}
    begun: defaultdict[str, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for word, name, *rest in lines:
        if word == "begin":
            if name in seen and name in sync:
                yield f"call {name} began again after its workflow had seen its result"
            begun[name] += rest
        elif word == "seen":
            seen.add(name)
    verdict.kills, verdict.calls = len(killed), len(begun)
    for name, pids in begun.items():
        verdict.repeated += len(pids) > 1
        alive = [pid for pid in pids[:-1] if pid not in killed]
        if alive:
            yield f"call {name} was begun again although nobody had killed {alive[0]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long workers are killed")
    parser.add_argument(
        "--seed", type=int, default=None, help="decides who is killed when; printed, so that it can be given again"
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    if given.work is not None:
        work(given.work, seed)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        verdict = run(Path(folder), seconds=given.seconds, seed=seed, workers=given.workers)
    sys.stdout.write(f"{verdict}\n")
    return bool(verdict.broken)


if __name__ == "__main__":
    sys.exit(main())
