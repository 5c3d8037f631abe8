"""When results are written: before they are seen, in order, or at the end; and what a failed write does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from replaying import FaultySaver, Ledger

from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.checkpoint.base import Transaction
from durably.engine.commit import Committer
from durably.engine.journal import RETURNED, Record
from durably.engine.log import Log
from durably.engine.steps import drive
from durably.errors import ConfigError, EmptyInputError, StorageError, Superseded

MODES = ("sync", "async", "exit")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def chain(saver: FaultySaver, ledger: Ledger, *, is_async: bool = False) -> Any:
    """A workflow of tasks one after another; the ledger also notes what the workflow has seen."""
    if is_async:

        @task(name="work")
        async def awork(n: int) -> int:
            await asyncio.sleep(0)
            return int(ledger.note(n))

        @entrypoint(checkpointer=saver, name="run")
        async def arun(n: int) -> Any:
            return [ledger.note(("seen", await awork(i))) for i in range(n)]

        return arun

    @task
    def work(n: int) -> int:
        return int(ledger.note(n))

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        return [ledger.note(("seen", work(i).result())) for i in range(n)]

    return run


def recorded(saver: FaultySaver) -> list[int]:
    return [record.n for record in saver.journal("t") if record.kind == RETURNED]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.once("counts writes")
def test_sync_writes_a_result_before_the_workflow_sees_it(ledger: Ledger, is_async: bool) -> None:
    saver = FaultySaver()
    at_hand: list[tuple[int, int]] = []

    @task
    async def awork(n: int) -> int:
        return n

    @task
    def work(n: int) -> int:
        return n

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        for i in range(n):
            (awork if is_async else work)(i).result()
            at_hand.append((i, len(recorded(saver))))

    run.invoke(4, thread_id="t", durability="sync")
    assert at_hand == [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("fails_at", [2, 3, 4])
@pytest.mark.once("counts writes")
def test_sync_shows_the_workflow_nothing_that_was_not_written(ledger: Ledger, is_async: bool, fails_at: int) -> None:
    saver = FaultySaver(fails_at=fails_at, dead=True)
    with pytest.raises(StorageError, match=f"write {fails_at} fails"):
        chain(saver, ledger, is_async=is_async).invoke(4, thread_id="t", durability="sync")
    written = fails_at - 2  # the first write is the run's start
    assert recorded(saver) == list(range(written))
    assert ledger.take() == [x for n in range(written) for x in (n, ("seen", n))] + [written]

    after = FaultySaver(saver)
    assert chain(after, ledger, is_async=is_async).invoke(None, thread_id="t") == [("seen", n) for n in range(4)]
    assert [n for n in ledger.take() if isinstance(n, int)] == list(range(written, 4))


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.once("counts writes")
def test_async_keeps_the_order(ledger: Ledger, is_async: bool) -> None:
    """Whatever is on disk at a moment is a prefix of what happened."""
    saver = FaultySaver()
    prefixes = []
    saver.on_write = lambda number: prefixes.append(recorded(saver))
    chain(saver, ledger, is_async=is_async).invoke(200, thread_id="t", durability="async")
    assert recorded(saver) == list(range(200)), "all is on disk before invoke returns"
    assert all(prefix == list(range(len(prefix))) for prefix in prefixes)
    assert saver.writes < 200, "records share writes"


@pytest.mark.parametrize("is_async", [False, True])
def test_async_a_failed_write_stops_the_run_at_its_next_call(ledger: Ledger, is_async: bool) -> None:
    saver = FaultySaver(fails_at=2)
    failed = threading.Event()
    saver.on_write = lambda number: failed.set() if number > 1 else None
    ran = []

    @task
    def work(n: int) -> int:
        ran.append(n)
        return n

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        work(0).result()
        while saver.writes < 2:  # the sentinel writes what nobody waits for
            failed.wait(0.001)
        try:
            return [work(i).result() for i in range(1, n)]
        except Exception:
            return "swallowed"

    with pytest.raises(StorageError, match="write 2 fails"):
        run.invoke(3, thread_id="t", durability="async")
    assert ran == [0]
    assert saver.run_of("t").status == "failed"
    assert run.invoke(None, thread_id="t") == [1, 2]
    assert ran == [0, 1, 2], "the record was not lost: it went with the end of the attempt"


@pytest.mark.once("counts writes")
def test_async_a_failed_write_that_was_made_good_is_no_failure(ledger: Ledger) -> None:
    """The run made no further call, and its end wrote everything."""
    saver = FaultySaver(fails_at=2)

    @task
    def work(n: int) -> int:
        return n

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        found = work(n).result()
        while saver.writes < 2:
            pass
        return found

    assert run.invoke(7, thread_id="t", durability="async") == 7
    assert saver.run_of("t").status == "done"
    assert recorded(saver) == [0]


@pytest.mark.once("counts writes")
def test_exit_writes_once_at_the_end(ledger: Ledger) -> None:
    saver = FaultySaver()
    seen = []
    saver.on_write = lambda number: seen.append(len(recorded(saver)))
    chain(saver, ledger).invoke(50, thread_id="t", durability="exit")
    assert saver.writes == 2
    assert seen == [0, 0]
    assert recorded(saver) == list(range(50))


def test_exit_leaves_nothing_when_killed(ledger: Ledger) -> None:
    saver = FaultySaver(fails_at=2, dead=True)
    with pytest.raises(StorageError):
        chain(saver, ledger).invoke(3, thread_id="t", durability="exit")
    ledger.take()
    after = FaultySaver(saver)
    run = chain(after, ledger)
    with pytest.raises(EmptyInputError):
        run.invoke(None, thread_id="t")
    assert ledger.take() == []
    assert len(run.invoke(3, thread_id="t")) == 3


def test_exit_that_has_asked_goes_on_after_a_kill(ledger: Ledger) -> None:
    """What an earlier attempt wrote at its end is there."""
    saver = FaultySaver()

    def workflow(saver: FaultySaver) -> Any:
        work = task(name="work")(ledger.note)

        @entrypoint(checkpointer=saver, name="run")
        def run(n: int) -> Any:
            return work(1).result(), interrupt("?"), work(2).result()

        return run

    workflow(saver).invoke(1, thread_id="t", durability="exit")
    saver.fails_at, saver.dead = saver.writes + 2, True
    with pytest.raises(StorageError):
        workflow(saver).invoke(Command(resume="a"), thread_id="t", durability="exit")
    assert ledger.take() == [1, 2]
    assert workflow(FaultySaver(saver)).invoke(None, thread_id="t") == (1, "a", 2)
    assert ledger.take() == [2]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_write_that_fails_once_leaves_the_run_resumable(ledger: Ledger, mode: str, fails_at: int) -> None:
    saver = FaultySaver(fails_at=fails_at)
    run = chain(saver, ledger)
    expected = [("seen", n) for n in range(4)]
    try:
        assert run.invoke(4, thread_id="t", durability=mode) == expected
    except StorageError:
        try:
            assert run.invoke(None, thread_id="t", durability=mode) == expected
        except EmptyInputError:
            assert run.invoke(4, thread_id="t", durability=mode) == expected
    assert saver.run_of("t").status == "done"


@pytest.mark.parametrize("is_async", [False, True])
def test_runs_that_share_a_commit_do_not_share_a_stale_fence(ledger: Ledger, is_async: bool) -> None:
    saver = FaultySaver()
    started = threading.Barrier(3)

    @task
    def meet(n: int) -> int:
        started.wait()
        started.wait()
        return n

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        return meet(n).result() + meet2(n).result()

    @task
    def meet2(n: int) -> int:
        return n

    def take_over(transaction: Transaction) -> None:
        thread = transaction.open("1").thread
        assert thread is not None
        fields = {name: getattr(thread, name) for name in ("no", "thread_id", "run_no", "head_no", "since")}
        transaction.put_thread(type(thread)(**fields, fence=thread.fence + 1))

    outcomes: dict[int, Any] = {}

    def invoke(n: int) -> None:
        try:
            outcomes[n] = run.invoke(n, thread_id=str(n), durability="sync" if is_async else "async")
        except Exception as error:
            outcomes[n] = error

    threads = [threading.Thread(target=invoke, args=(n,)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    started.wait()
    saver.transact([take_over])
    started.wait()
    for thread in threads:
        thread.join()
    assert isinstance(outcomes[1], Superseded)
    assert outcomes[2] == 4


def test_an_unknown_durability_is_refused(ledger: Ledger) -> None:
    saver = FaultySaver()
    with pytest.raises(ConfigError, match="'sync', 'async', 'exit'"):
        chain(saver, ledger).invoke(1, thread_id="t", durability="always")
    assert saver.writes == 0


class WatchedLog(Log):
    """Notes what is known of its error whenever its records come to count as written."""

    def __init__(self, *args: Any) -> None:
        self.known: list[BaseException | None] = []
        super().__init__(*args)

    @property
    def written(self) -> int:  # type: ignore[override]
        return self._count

    @written.setter
    def written(self, count: int) -> None:
        self._count = count
        self.known.append(self.error if count else None)


def test_a_stale_fence_is_known_before_its_records_count_as_written() -> None:
    """Whoever waits for a write looks without a lock: a result that was not written must not be taken for one that was."""
    committer = Committer.of(InMemorySaver())
    log = WatchedLog(committer, (1, 1, 1), "sync")
    log.append(Record(RETURNED, "", "step", 0, b"", b""))
    with pytest.raises(Superseded):
        drive(log.flush())
    assert [type(error) for error in log.known[1:]] == [Superseded]
