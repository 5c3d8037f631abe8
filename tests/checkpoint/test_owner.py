"""Who holds a thread, and whether that process is still there."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from faults import FaultySaver

from durably import InMemorySaver, entrypoint, task
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.sqlite import SqliteSaver
from durably.engine import owner
from durably.errors import StorageError, ThreadBusy

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the kernel tells of processes in /proc")


def test_runs_that_begin_in_one_commit_do_not_take_each_others_thread() -> None:
    """The second is refused, and the first one is not disturbed."""
    ran = []

    @task
    async def work(n: int) -> int:
        ran.append(n)
        await asyncio.sleep(0)
        return n

    @entrypoint(checkpointer=InMemorySaver())
    async def run(n: int) -> Any:
        return [await work(n), await work(n)]

    async def main() -> list[Any]:
        return await asyncio.gather(*(run.ainvoke(n, thread_id="t") for n in range(5)), return_exceptions=True)

    first, *others = asyncio.run(main())
    assert first == [0, 0]
    assert [type(other) for other in others] == [ThreadBusy] * 4
    assert ran == [0, 0]


def test_two_objects_of_one_process_on_one_file_see_each_others_runs(tmp_path: Path) -> None:
    """While a run is under way its thread is held; when it has ended it is not, even if that could not be written."""
    with SqliteSaver(tmp_path / "runs.db") as one, SqliteSaver(tmp_path / "runs.db") as other:
        outcomes: list[Any] = []

        def run_on(saver: SqliteSaver) -> Any:
            @entrypoint(checkpointer=saver, name="run")
            def run(meet: bool) -> str:
                if meet:
                    try:
                        run_on(other).invoke(False, thread_id="t")
                    except ThreadBusy as error:
                        outcomes.append(error)
                    one.close()
                return "done"

            return run

        def first() -> None:
            with pytest.raises(StorageError, match="closed"):
                run_on(one).invoke(True, thread_id="t")

        thread = threading.Thread(target=first)
        thread.start()
        thread.join()
        assert [type(outcome) for outcome in outcomes] == [ThreadBusy]
        assert run_on(other).invoke(False, thread_id="t") == "done"


@linux
def test_a_checkpointer_that_was_thrown_away_holds_nothing(tmp_path: Path) -> None:
    """Its attempt took the thread and did not hear of it; a new object on the same file need not wait for the lease."""

    def run_on(saver: BaseCheckpointer) -> Any:
        return entrypoint(checkpointer=saver, name="run")(lambda n: n)

    with SqliteSaver(tmp_path / "runs.db") as saver:
        with pytest.raises(StorageError, match="fails"):
            run_on(FaultySaver(saver, "denied", 1)).invoke(3, thread_id="t")
        gc.collect()
        assert run_on(saver).invoke(None, thread_id="t") == 3


@linux
def test_this_process_is_not_dead() -> None:
    assert not owner.is_proved_dead(owner.host_identity())


@linux
def test_a_process_that_has_ended_is_dead_before_and_after_it_is_buried() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    machine = owner.host_identity().partition("|")[0]
    host = f"{machine}|{child.pid}|{owner._process(child.pid)[1]}"
    assert not owner.is_proved_dead(host)
    child.kill()
    while owner._process(child.pid)[0] not in "ZX":
        pass
    assert owner.is_proved_dead(host), "it waits to be buried"
    child.communicate()
    assert owner.is_proved_dead(host)


@linux
def test_a_process_number_that_was_given_again_is_another_process() -> None:
    machine, pid, started = owner.host_identity().split("|")
    assert owner.is_proved_dead(f"{machine}|{pid}|{int(started) - 1}")


@linux
@pytest.mark.parametrize("host", ["{machine}x|{dead}|1", "|{dead}|1", "{machine}|{dead}|"])
def test_nothing_is_proved_about_other_machines_or_with_less_knowledge(host: str) -> None:
    machine = owner.host_identity().partition("|")[0]
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not owner.is_proved_dead(host.format(machine=machine, dead=child.pid))
    assert owner.is_proved_dead(f"{machine}|{child.pid}|1")


@linux
def test_a_process_that_is_hidden_from_this_user_is_not_proved_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, _, started = owner.host_identity().split("|")
    monkeypatch.setattr(owner, "_process", lambda pid: ("", ""))
    assert not owner.is_proved_dead(f"{machine}|{os.getpid()}|{started}")
