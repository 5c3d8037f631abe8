"""A worker for runs that sleep: ``python sleeper.py DATABASE LEDGER``. It notes who slept, and who woke."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from worker import note

from durably import Worker, Workflow, entrypoint, sleep, task
from savers import open_saver


def build(saver: Any, ledger: Path) -> Workflow[Any, Any]:
    """Notes the input before and after a sleep."""

    @task
    async def tell(line: str) -> str:
        note(ledger, line)
        return line

    @entrypoint(checkpointer=saver)
    async def flow(name: str) -> str:
        await tell(f"slept {name}")
        await sleep(2.0)
        return await tell(f"woke {name}")

    return flow


if __name__ == "__main__":
    with open_saver(sys.argv[1]) as saver:
        Worker(build(saver, Path(sys.argv[2])), concurrency=50, poll_interval=0.05).run()
