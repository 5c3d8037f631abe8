from __future__ import annotations

import asyncio
import gc
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Lock

import pytest

from durably.cache.flight import Lead, SingleFlight
from durably.cache.memory import InMemoryCache


def compute(flights: SingleFlight, cache: InMemoryCache, key: bytes, calls: list[bytes]) -> bytes:
    """What an engine does at a miss, without any pause between its steps."""
    while True:
        if (hit := cache.get("n", key)) is not None:
            return hit
        turn = flights.begin("n", key)
        if isinstance(turn, Future):
            if (value := turn.result(30)) is not None:
                return value
            continue
        with turn:
            if (hit := cache.get("n", key)) is not None:
                turn.finish(hit)
                return hit
            calls.append(key)
            cache.set("n", key, b"value of " + key)
            turn.finish(b"value of " + key)
            return b"value of " + key


def test_many_threads_compute_each_key_once() -> None:
    flights, cache, calls = SingleFlight(), InMemoryCache(), list[bytes]()
    start = Barrier(16)

    def work() -> list[bytes]:
        start.wait()
        return [compute(flights, cache, b"%d" % n, calls) for n in range(50)]

    with ThreadPoolExecutor(16) as pool:
        results = [done.result() for done in [pool.submit(work) for _ in range(16)]]

    assert all(result == [b"value of %d" % n for n in range(50)] for result in results)
    assert sorted(calls) == sorted(b"%d" % n for n in range(50))
    assert flights.size == 0


def test_a_lead_that_gives_up_wakes_the_others_without_a_value() -> None:
    flights = SingleFlight()
    lead = flights.begin("n", b"k")
    waiting = flights.begin("n", b"k")
    assert isinstance(lead, Lead)
    assert isinstance(waiting, Future)

    with pytest.raises(ZeroDivisionError), lead:
        1 / 0

    assert waiting.result(0) is None
    assert isinstance(flights.begin("n", b"k"), Lead), "somebody else may lead now"


def test_a_dropped_lead_gives_up() -> None:
    flights = SingleFlight()
    lead = flights.begin("n", b"k")
    waiting = flights.begin("n", b"k")
    assert isinstance(waiting, Future)

    del lead
    gc.collect()

    assert waiting.result(0) is None


def test_a_finished_lead_cannot_land_a_later_flight() -> None:
    flights = SingleFlight()
    first = flights.begin("n", b"k")
    assert isinstance(first, Lead)
    first.finish(b"1")
    second = flights.begin("n", b"k")
    waiting = flights.begin("n", b"k")
    assert isinstance(second, Lead)
    assert isinstance(waiting, Future)

    first.abandon()
    first.finish(b"stale")
    assert not waiting.done()
    second.finish(b"2")
    assert waiting.result(0) == b"2"


def test_keys_and_namespaces_do_not_wait_for_each_other() -> None:
    flights = SingleFlight()
    leads = [flights.begin(n, k) for n in ("a", "b") for k in (b"1", b"2")]

    assert all(isinstance(lead, Lead) for lead in leads)


def test_coroutines_wait_and_a_cancelled_one_takes_nobody_with_it() -> None:
    async def main() -> list[object]:
        flights = SingleFlight()
        lead = flights.begin("n", b"k")
        assert isinstance(lead, Lead)

        async def follow() -> bytes | None:
            turn = flights.begin("n", b"k")
            assert isinstance(turn, Future)
            return await asyncio.wrap_future(turn)

        followers = [asyncio.create_task(follow()) for _ in range(3)]
        await asyncio.sleep(0)
        followers[0].cancel()
        await asyncio.sleep(0)
        lead.finish(b"v")
        return list(await asyncio.gather(*followers, return_exceptions=True))

    first, *others = asyncio.run(main())
    assert isinstance(first, asyncio.CancelledError)
    assert others == [b"v", b"v"]


def test_waiters_may_begin_again_from_a_callback() -> None:
    flights, log, lock = SingleFlight(), list[bool](), Lock()
    lead = flights.begin("n", b"k")
    waiting = flights.begin("n", b"k")
    assert isinstance(lead, Lead)
    assert isinstance(waiting, Future)

    def again(_: Future[bytes | None]) -> None:
        with lock:
            turn = flights.begin("n", b"k")
            log.append(isinstance(turn, Lead))

    waiting.add_done_callback(again)
    lead.finish(b"v")

    assert log == [True]
