"""The lock that is held for the length of a commit."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from durably.engine.gate import Acquire, Gate
from durably.engine.steps import Steps, adrive, drive


def never() -> bool:
    return False


def waiting(gate: Gate, count: int) -> None:
    """Go on when so many threads wait."""
    while len(gate._threads) < count:
        pass


def wait_on_threads(gate: Gate, *wishes: Callable[[], bool]) -> list[Future[bool]]:
    """One thread after the other waits for the gate."""
    pool = ThreadPoolExecutor(len(wishes))
    futures = []
    for number, done in enumerate(wishes, len(gate._threads) + 1):
        futures.append(pool.submit(gate.wait, done))
        waiting(gate, number)
    pool.shutdown(wait=False)
    return futures


def test_whoever_comes_first_takes_it() -> None:
    gate = Gate()
    assert gate.acquire()
    assert not gate.acquire()
    gate.release()
    assert gate.wait(never)


def test_whose_wish_is_fulfilled_does_not_have_to_hold_it() -> None:
    gate, written = Gate(), set[str]()
    assert gate.acquire()
    first, second, third = wait_on_threads(gate, lambda: "a" in written, never, lambda: "b" in written)
    written.update("ab")
    gate.release()
    assert not first.result()
    assert not third.result()
    assert second.result()
    assert not gate.acquire(), "it was handed on"
    gate.release()
    assert gate.acquire()


def test_it_is_handed_on_in_the_order_of_coming() -> None:
    gate = Gate()
    assert gate.acquire()
    first, second = wait_on_threads(gate, never, never)
    gate.release()
    assert first.result()
    assert not second.done()
    gate.release()
    assert second.result()


def test_who_is_interrupted_while_waiting_holds_nothing_up() -> None:
    gate, interrupted = Gate(), threading.Event()
    assert gate.acquire()

    def interrupt_once(*_: object) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    def interrupt() -> None:
        waiting(gate, 1)
        while not interrupted.wait(0.01):  # a signal that comes just before the thread sleeps does not wake it
            signal.pthread_kill(main, signal.SIGUSR1)

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, interrupt_once)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            gate.wait(never)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    gate.release()
    assert gate.acquire()


def test_threads_and_event_loops_take_turns() -> None:
    """One holder at a time; every wish is fulfilled, and mostly by somebody else."""
    gate, wishes, fulfilled, holders = Gate(), list[object](), set[object](), list[object]()

    def wish(made: object) -> Steps[object]:
        wishes.append(made)
        while made not in fulfilled:
            if (yield Acquire(gate, lambda: made in fulfilled)):
                holders.append(made)
                assert len(holders) == 1
                fulfilled.update(wishes[:])
                holders.clear()
                gate.release()
        return made

    def on_thread(number: int) -> None:
        for turn in range(200):
            drive(wish((number, turn)))

    async def on_loop(number: int) -> None:
        async def one(task: int) -> None:
            for turn in range(20):
                await adrive(wish((number, task, turn)))
                await asyncio.sleep(0)

        await asyncio.gather(*map(one, range(10)))

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(on_thread, number) for number in range(4)]
        futures += [pool.submit(asyncio.run, on_loop(number)) for number in (4, 5)]
        for future in futures:
            future.result(timeout=60)
    assert len(fulfilled) == 4 * 200 + 2 * 200
