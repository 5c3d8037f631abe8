"""One database, many processes: no update is lost, no finished call repeated, and one writer a thread."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
from msgspec.structs import replace
from worker import Shop, lines, wait_for

from durably.checkpoint.base import Transaction

PROCESSES, RUNS, THREADS = 6, 240, 12


def test_no_update_is_lost_and_no_finished_call_repeated(shop: Shop) -> None:
    jobs = [(f"t{n % THREADS}", f"r{n}") for n in range(RUNS)]
    start = str(shop.folder / "start")
    processes = [
        shop.start("fire", jobs=jobs[number::PROCESSES], on_busy="enqueue", start=start) for number in range(PROCESSES)
    ]
    (shop.folder / "start").touch()
    outcomes = [process.outcome() for process in processes]
    assert [len(outcome["value"]) for outcome in outcomes] == [len(jobs[n::PROCESSES]) for n in range(PROCESSES)]

    done = Counter(lines(shop.ledger, "end"))
    assert done == Counter({f"end r{n}{mark}": 1 for n in range(RUNS) for mark in ("", "'")})
    finals = {f"t{n}": shop.flow.get_state(thread_id=f"t{n}").values for n in range(THREADS)}
    for thread, names in finals.items():
        assert sorted(names) == sorted(name + mark for t, name in jobs if t == thread for mark in ("", "'"))
    for outcome in outcomes:  # each saw a moment of its thread: all that was there before it, and its own
        for value in outcome["value"]:
            final = next(names for names in finals.values() if names[0] == value[0])
            assert final[: len(value)] == value


def test_of_two_different_answers_at_once_exactly_one_wins(shop: Shop) -> None:
    for round in range(3):
        thread, start = f"t{round}", shop.folder / f"start{round}"
        (question,) = shop.start(input=["?sure"], thread=thread).outcome()["asked"].values()
        answers = [shop.start(thread=thread, resume={question: f"answer {n}"}, start=str(start)) for n in range(4)]
        start.touch()
        outcomes = [answer.outcome() for answer in answers]
        (won,) = (outcome["value"] for outcome in outcomes if "value" in outcome)
        assert [outcome.get("error", "AlreadyAnswered") for outcome in outcomes] == ["AlreadyAnswered"] * 4
        assert shop.flow.get_state(thread_id=thread).values == won
        (run,) = shop.flow.runs(thread)
        assert [call.value for call in run.calls() if call.status == "answered"] == won


def test_the_same_answer_at_once_is_one_answer(shop: Shop) -> None:
    (question,) = shop.start(input=["?sure", "work"]).outcome()["asked"].values()
    start = shop.folder / "start"
    answers = [shop.start(resume={question: "yes"}, start=str(start)) for _ in range(4)]
    start.touch()
    assert [answer.outcome() for answer in answers] == [{"value": ["yes", "work"]}] * 4
    assert lines(shop.ledger) == ["begin work", "end work"]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_process_stopped_past_its_lease_can_write_nothing(shop: Shop, durability: str) -> None:
    stopped = shop.start(input=[f"held@{shop.folder / 'gate'}", "after"], how={"durability": durability})
    wait_for(lambda: "begin held" in lines(shop.ledger))
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        assert shop.flow.recover() == {}  # it may only be slow: nobody takes over before its lease ends
        shop.saver.transact([end_leases])
        shop.open()
        if durability == "exit":
            assert shop.flow.invoke(["new"], thread_id="t") == ["new"]
        else:
            assert shop.flow.recover() == {"t": ["held", "after"]}
        before = shop.flow.runs("t")
        state = shop.flow.get_state(thread_id="t")
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    outcome = stopped.outcome()
    assert outcome["error"] == "Superseded"
    assert shop.flow.runs("t") == before
    assert [len(run.calls()) for run in shop.flow.runs("t")] == [len(run.calls()) for run in before]
    assert shop.flow.get_state(thread_id="t") == state


def end_leases(transaction: Transaction) -> None:
    """As if nobody had renewed a lease for a long time."""
    for owner in transaction.holders():
        assert owner.host
        transaction.put_owner(replace(owner, until=0.0))
