"""A workflow for tests with several processes, and the program that runs it in one of them.

``python worker.py METHOD OPTIONS``, the options being JSON, prints the outcome as JSON in one line. What the tasks do
they append to a ledger: a file that every process writes at its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from durably import Command, Worker, Workflow, entrypoint, interrupt, task
from durably import worker as workers
from durably.engine import attempt
from durably.engine.admission import _Admission
from durably.engine.owner import Owner
from forks import Fork
from savers import open_saver

LONG = 60.0


def note(ledger: Path, line: str) -> None:
    """Append a line, whole, whoever else appends."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def lines(ledger: Path, *words: str) -> list[str]:
    """What was noted so far, of lines that begin with one of these words."""
    noted = ledger.read_text().splitlines() if ledger.exists() else []
    return [line for line in noted if line.startswith(words or ("begin", "end"))]


def wait_for(condition: Any) -> None:
    """Wait until it holds; that takes long only where a test fails."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.002)


def build(saver: Any, ledger: Path, on_busy: Any = "reject", colour: str = "sync") -> Workflow[Any, Any]:
    """A workflow whose input is a list of names; a name with a gate, ``name@file``, waits until the file is there."""

    @task(name="work")
    def work(name: str) -> str:
        word, _, gate = name.partition("@")
        note(ledger, f"begin {word}")
        if gate:
            wait_for(Path(gate).exists)
        note(ledger, f"end {word}")
        return word

    @task(name="work")
    async def awork(name: str) -> str:
        word, _, gate = name.partition("@")
        note(ledger, f"begin {word}")
        while gate and not Path(gate).exists():
            await asyncio.sleep(0.002)
        note(ledger, f"end {word}")
        return word

    @entrypoint(checkpointer=saver, on_busy=on_busy, name="flow")
    def flow(names: list[str], *, previous: list[str] | None = None) -> list[str]:
        done = (interrupt(name) if name.startswith("?") else work(name).result() for name in names)
        return [*(previous or ()), *done]

    @entrypoint(checkpointer=saver, on_busy=on_busy, name="flow")
    async def aflow(names: list[str], *, previous: list[str] | None = None) -> list[str]:
        done = [interrupt(name) if name.startswith("?") else await awork(name) for name in names]
        return [*(previous or ()), *done]

    return flow if colour == "sync" else aflow


def announce(ledger: Path, patch: Any = setattr) -> None:
    """From now on note who joins a run and who waits for a thread, so that a test can know."""
    join, queue, look_up = attempt.result_of, Owner.queue, _Admission._started_before

    def joins(*args: Any) -> Any:
        note(ledger, "joins")
        return join(*args)

    def waits(owner: Owner, thread_id: str, request: str) -> None:
        note(ledger, f"waits {request}")
        queue(owner, thread_id, request)

    def looks_up(admission: _Admission, is_held: bool) -> Any:
        if is_held and admission.request.key:
            note(ledger, f"keyed {admission.request.run_id}")
        return look_up(admission, is_held)

    def telling(method: Any, line: str) -> Any:
        async def told(shift: Any) -> None:
            note(ledger, line)
            await method(shift)

        return told

    patch(workers._Shift, "_drain", telling(workers._Shift._drain, "drains"))
    patch(workers._Shift, "_leave", telling(workers._Shift._leave, "leaves"))
    patch(attempt, "result_of", joins)
    patch(_Admission, "_started_before", looks_up)
    patch(Owner, "queue", waits)


def outcome_of(call: Any) -> dict[str, Any]:
    """What a call returned or raised, as JSON can say it."""
    try:
        value = call()
    except BaseException as error:
        return {"error": type(error).__name__, "text": str(error)}
    if isinstance(value, dict) and "__interrupt__" in value:
        return {"asked": {question.value: question.id for question in value["__interrupt__"]}}
    return {"value": value}


class Job:
    """One call of the workflow in another process."""

    def __init__(self, method: str, options: dict[str, Any]) -> None:
        self.process = Fork(__file__, method, json.dumps(options))

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def outcome(self) -> dict[str, Any]:
        """Wait for its end."""
        found: dict[str, Any] = json.loads(self.process.output(LONG))
        return found


class Shop:
    """A database and a ledger that several processes share."""

    def __init__(self, folder: Path, database: str) -> None:
        self.database, self.ledger, self.folder = database, folder / "ledger", folder
        self.saver = open_saver(self.database)
        self.flow = build(self.saver, self.ledger)

    def start(self, method: str = "invoke", **options: Any) -> Job:
        return Job(method, {**options, "database": self.database, "ledger": str(self.ledger)})

    def killed(self, thread: str, *before: str, **how: Any) -> None:
        """A run that was killed in its last task."""
        job = self.start(input=[*before, f"{thread}@{self.folder / 'gate'}"], thread=thread, how=how)
        wait_for(lambda: f"begin {thread}" in lines(self.ledger))
        if how.get("durability") != "exit":  # what is not on disk yet when the process is killed runs again
            wait_for(lambda: len(self.flow.runs(thread)[0].calls()) == len(before))
        job.kill()

    def open(self) -> None:
        (self.folder / "gate").touch()


class LocalJob:
    """One call of the workflow in another thread of this process."""

    def __init__(self, workflow: Workflow[Any, Any], method: str, options: dict[str, Any]) -> None:
        self._outcome: list[dict[str, Any]] = []
        self._thread = threading.Thread(
            target=lambda: self._outcome.append(outcome_of(lambda: call(workflow, method, options)))
        )
        self._thread.start()

    def outcome(self) -> dict[str, Any]:
        """Wait for its end."""
        self._thread.join(LONG)
        return self._outcome[0]


def call(workflow: Workflow[Any, Any], method: str, options: dict[str, Any]) -> Any:
    """Call a method as the options say."""
    if method == "work":
        Worker(workflow, **options.get("how", {})).run(until_idle=options.get("until_idle", False))
        return None
    thread = {} if method == "recover" else {"thread_id": options.get("thread", "t")}
    given: list[Any] = [] if method in ("recover", "cancel") else [options.get("input")]
    if "resume" in options:
        given = [Command(resume=options["resume"])]
    how = {**thread, **options.get("how", {})}
    if options.get("colour") == "async":
        return asyncio.run(getattr(workflow, f"a{method}")(*given, **how))
    return getattr(workflow, method)(*given, **how)


def fire(workflow: Workflow[Any, Any], jobs: list[tuple[str, str]]) -> list[Any]:
    """Many runs, four at a time."""
    with ThreadPoolExecutor(4) as executor:
        return list(executor.map(lambda job: workflow.invoke([job[1], f"{job[1]}'"], thread_id=job[0]), jobs))


def main() -> None:
    method, options = sys.argv[1], json.loads(sys.argv[2])
    announce(Path(options["ledger"]))
    with open_saver(options["database"]) as saver:
        workflow = build(
            saver, Path(options["ledger"]), options.get("on_busy", "reject"), options.get("colour", "sync")
        )
        if "start" in options:  # so that several processes begin at once
            wait_for(Path(options["start"]).exists)
        what = (
            partial(fire, workflow, options["jobs"]) if method == "fire" else partial(call, workflow, method, options)
        )
        sys.stdout.write(json.dumps(outcome_of(what), default=repr) + "\n")


if __name__ == "__main__":
    main()
