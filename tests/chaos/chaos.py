"""Kills and pauses workers at random moments, and judges what they did by a ledger.

Some worker processes run workflows on one SQLite file, or on one PostgreSQL server: they start runs under idempotency
keys, answer questions, and recover what others have left. A supervisor kills one after the other with SIGKILL at random
moments and starts new ones; now and then it stops one with SIGSTOP for longer than its lease, so that others take its runs
over before it wakes. A server is stopped without warning and started again, too. Tasks append to a ledger when they begin,
workflows when they have seen a result, the supervisor when it has stopped somebody; the ledger is a file that nobody reads
before the end.

At the end every run that was accepted must be done, exactly once, with the result that a model says, and every call that
was begun again must have been under way in a process that was killed or paused. In durability ``sync`` no call whose result
the workflow had seen may begin again.

``python tests/chaos/chaos.py --scenario steps --runs 5000 --seed 7`` prints what happened; the exit status is 1 when a rule
is broken. The seed decides which moments and which victims are picked; what the machine makes of them differs each time.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from ledger import Ledger, Verdict, broken_calls
from scenarios import SCENARIOS, Scenario

from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.postgres import PostgresSaver
from durably.engine import owner
from forks import Fork
from postgres_server import Server
from savers import open_saver

AT_ONCE = 4
LEASE = 5.0
PAUSE = 7.0
RESTARTS = 40
"""How many in a hundred disturbances are restarts of the server, where there is one."""


@dataclass(frozen=True)
class Plan:
    """What is to happen.

    Args:
        scenario: the name of what the workers do.
        seed: decides who is stopped when.
        seconds: for how long, in scenarios that go on until they are stopped.
        runs: how many runs, in the others.
        workers: how many processes.
        pauses: how many of them are paused instead of killed, in a hundred.
        place: where runs are stored, as `savers.open_saver` takes it; by default in a file.
    """

    scenario: str = "lines"
    seed: int = 0
    seconds: float = 60.0
    runs: int = 1000
    workers: int = 3
    pauses: int = 5
    place: str = ""

    def saver(self, folder: Path) -> BaseCheckpointer:
        """The database."""
        return open_saver(self.place or folder / "runs.db")

    def made(self, saver: BaseCheckpointer, folder: Path) -> Scenario:
        """The scenario on a database."""
        return SCENARIOS[self.scenario](saver, Ledger(folder / "ledger"), folder, self.runs)


def work(folder: Path, plan: Plan) -> None:
    """One worker: advance runs, several at a time."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of each connection that a restart takes from it
    owner.LEASE_SECONDS = LEASE  # type: ignore[misc]
    with plan.saver(folder) as saver, ThreadPoolExecutor(AT_ONCE) as executor:
        at_work(folder, os.getpid()).touch()
        list(executor.map(plan.made(saver, folder).work, range(plan.seed, plan.seed + AT_ONCE)))


def at_work(folder: Path, pid: int) -> Path:
    """A file that is there when a worker has begun: on a busy machine the others would never come to anything."""
    return folder / f"at-work-{pid}"


class Supervisor:
    """Starts workers, and stops them at random moments."""

    def __init__(self, folder: Path, plan: Plan, server: Server | None = None) -> None:
        self.server = server
        self.folder = folder
        self.plan = plan
        self.chance = random.Random(plan.seed)
        self.ledger = Ledger(folder / "ledger")
        self.started = 0
        self.crew = [self.start() for _ in range(plan.workers)]

    def start(self) -> Fork:
        """Another worker."""
        self.started += 1
        seed, plan = self.plan.seed + 100 * self.started, self.plan
        told = ["--scenario", plan.scenario, "--runs", str(plan.runs), "--seed", str(seed), "--place", plan.place]
        return Fork(__file__, "--work", str(self.folder), *told)

    def rage(self) -> list[str]:
        """Stop one after the other until the work is done, or the time is over; then which of them failed."""
        endless, end = self.plan.scenario == "lines", time.monotonic() + self.plan.seconds
        while time.monotonic() < end if endless else all(worker.poll() is None for worker in self.crew):
            time.sleep(self.chance.uniform(0.2, 2.0) / self.plan.workers)
            victim = self.chance.randrange(self.plan.workers)
            worker = self.crew[victim]
            if not at_work(self.folder, worker.pid).exists() or worker.poll() is not None:
                continue
            chance = self.chance.randrange(100)
            if chance < self.plan.pauses:
                self._pause(worker)
            elif self.server is not None and chance < self.plan.pauses + RESTARTS:
                self._restart(self.server)
            else:
                self._kill(victim)
        (self.folder / "stop").touch()
        return [f"a worker ended with status {worker.returncode}" for worker in self.crew if worker.wait()]

    def _kill(self, victim: int) -> None:
        worker = self.crew[victim]
        worker.kill()
        if worker.wait() == -signal.SIGKILL:
            self.ledger.note("kill", worker.pid)
            self.crew[victim] = self.start()

    def _pause(self, worker: Fork) -> None:
        self.ledger.note("pause", worker.pid)
        os.kill(worker.pid, signal.SIGSTOP)
        time.sleep(PAUSE)
        os.kill(worker.pid, signal.SIGCONT)
        self._calm_down()

    def _restart(self, server: Server) -> None:
        """As a power cut would, and without warning."""
        self.ledger.note("down", "-")
        server.stop("immediate")
        time.sleep(self.chance.uniform(0, 1))
        server.start()
        self._calm_down()

    def _calm_down(self) -> None:
        """Give everybody the time to renew leases."""
        time.sleep(LEASE / 2)
        self.ledger.note("calm", "-")


def run(folder: Path, plan: Plan, server: Server | None = None) -> Verdict:
    """Let chaos reign, clear up, and judge."""
    began = time.monotonic()
    failed = Supervisor(folder, plan, server).rage()
    verdict = Verdict(plan.seed, seconds=time.monotonic() - began)
    verdict.broken += failed
    with plan.saver(folder) as saver:
        scenario = plan.made(saver, folder)
        scenario.finish()
        verdict.broken += scenario.judge(verdict)
        sync = scenario.sync_calls()
    verdict.broken += broken_calls(Ledger(folder / "ledger").read(), sync, verdict)
    return verdict


def run_on_postgres(folder: Path, plan: Plan) -> Verdict:
    """Likewise, on a server of its own that is stopped and started meanwhile."""
    with Server() as server:
        place = server.place()
        with PostgresSaver(place.conninfo, schema=place.schema) as saver:
            saver.setup()
        return run(folder, replace(plan, place=f"postgres {place.schema} {place.conninfo}"), server)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenario", choices=SCENARIOS, default="lines", help="what the workers do")
    parser.add_argument("--runs", type=int, default=1000, help="how many runs, in scenarios that have an end")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long, in the scenario 'lines'")
    parser.add_argument(
        "--seed", type=int, default=None, help="decides who is stopped when; printed, to be given again"
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--pauses", type=int, default=5, help="how many in a hundred are paused instead of killed")
    parser.add_argument("--backend", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--place", default="", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    plan = Plan(given.scenario, seed, given.seconds, given.runs, given.workers, given.pauses, given.place)
    if given.work is not None:
        work(given.work, plan)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        verdict = run_on_postgres(Path(folder), plan) if given.backend == "postgres" else run(Path(folder), plan)
    sys.stdout.write(f"{plan.scenario} on {given.backend}, {verdict}\n")
    return bool(verdict.broken)


if __name__ == "__main__":
    sys.exit(main())
