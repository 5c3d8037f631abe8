"""A program that pays, and is killed. Run by `test_paying_crashes.py`, in processes of its own.

``paying.py DIRECTORY DURABILITY [PLACE]`` forks one process per attempt, and kills it with SIGKILL at a moment of the
workflow: around every commit, and before and after the rows that the tasks write. The next process goes on, until the run has
ended; after each death the rows are compared with the records. What went wrong is printed as JSON. Without a place, as
`savers` understands it, there is a new file for each moment.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durably import entrypoint, get_runtime, task
from durably.checkpoint.base import BaseCheckpointer
from durably.errors import EmptyInputError
from mortal import Bomb, mortal_on
from savers import open_saver

EXPECTED = [[0, 1, 2], 3, 4]


def flow_on(saver: BaseCheckpointer, bomb: Bomb) -> Any:
    """Pays three amounts side by side, and two in a row, with ordinary tasks among them."""

    @task(transactional=True)
    def pay(amount: int, connection: Any) -> int:
        bomb.moment()
        connection.execute(f"insert into payment values ('{get_runtime().call_id}', {amount})")
        bomb.moment()
        return amount

    @task
    def note(n: int) -> int:
        bomb.moment()
        return n

    @entrypoint(checkpointer=saver, name="flow")
    def flow(_: int) -> Any:
        calls = [call for n in range(3) for call in (note(n), pay(n))]
        first = [call.result() for call in calls][1::2]
        return [first, pay(note(3).result()).result(), pay(note(4).result()).result()]

    return flow


@dataclass(frozen=True)
class Life:
    """Where the processes of one run work.

    Args:
        place: the database.
        thread: the run's.
        outcome: where the process that comes to its end says how.
    """

    place: str
    thread: str
    outcome: Path

    def prepare(self) -> None:
        """An empty table."""
        self._sql("create table if not exists payment (call_id text, amount integer)")
        self._sql("delete from payment")

    def _sql(self, statement: str) -> None:
        with open_saver(self.place) as saver:
            saver._database.run(statement)  # type: ignore[attr-defined]

    def live(self, at: int, durability: Any) -> None:
        """One process: goes on with the run, or starts it."""
        bomb = Bomb(at)
        flow = flow_on(mortal_on(self.place, bomb), bomb)
        try:
            result = flow.invoke(None, thread_id=self.thread, durability=durability)
        except EmptyInputError:
            result = flow.invoke(1, thread_id=self.thread, durability=durability)
        self.outcome.write_text(json.dumps(result))

    def in_a_process(self, at: int, durability: str) -> bool:
        """Whether a process came to its end, rather than being killed."""
        pid = os.fork()
        if not pid:
            try:
                self.live(at, durability)
            except BaseException:
                self.outcome.write_text(traceback.format_exc())
            finally:
                os._exit(0)
        return os.WIFEXITED(os.waitpid(pid, 0)[1])

    def difference(self) -> list[str]:
        """How rows and records differ: each payment is recorded once, and each record has paid once."""
        with open_saver(self.place) as saver:
            runs = flow_on(saver, Bomb(0)).runs(self.thread)
            recorded = sorted(call.id for run in runs for call in run.calls() if call.name == "pay")
            rows = saver._database.rows("select call_id from payment")  # type: ignore[attr-defined]
        paid = sorted(name for (name,) in rows)
        return [] if recorded == paid else [f"recorded {recorded}, and paid {paid}"]


def campaign(directory: Path, durability: str, place: str = "") -> dict[str, Any]:
    """Die at every moment in turn, and again three moments into the next life."""
    problems, at = list[str](), 0
    while True:
        at += 1
        life = Life(place or str(directory / f"{at}.db"), f"t{at}", directory / f"outcome-{at}")
        life.prepare()
        killed = 0
        for moment in (at, 3, 0):
            ended = life.in_a_process(moment, durability)
            killed += not ended
            problems += [f"{at}: {problem}" for problem in life.difference()]
            if ended:
                break
        outcome = life.outcome.read_text()
        if outcome != json.dumps(EXPECTED):
            problems.append(f"{at}: ended with {outcome}")
        if not killed:
            return {"moments": at - 1, "problems": problems}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(campaign(Path(sys.argv[1]), *sys.argv[2:])))
