"""How a run begins and ends in the database: decisions over rows, made inside one transaction.

Each function here returns a `Work`: it reads, decides, and only then writes. The fence, not the lease, carries safety: every
attempt takes the next one, and whoever comes with an older one writes nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from ..checkpoint.base import Chunk, Opened, RunRow, Status, ThreadRow, Transaction, Work
from ..errors import (
    AlreadyAnswered,
    AmbiguousAnswerError,
    DecodeError,
    EmptyInputError,
    Superseded,
    ThreadBusy,
    UnknownInterruptError,
    WorkflowMismatch,
)
from ..serde import Serializer
from .identity import Key, call_id, record_place
from .journal import ANSWERED, RAISED, Record, decode_records, encode_records, questions
from .owner import Owner

__all__ = ["Admitted", "Ending", "Head", "Outcome", "Request", "admit", "settle"]

RESUMABLE: Final = ("asked", "failed", "stopped", "running")


class Head(msgspec.Struct, array_like=True, frozen=True):
    """The circumstances under which a run was started, as stored.

    Args:
        durability: when its results are to be on disk.
        source: what made the run: ``input``, ``update`` or ``fork``.
        step: the how-manieth checkpoint of its thread it starts at.
        extra: encoded tags, metadata and configurable values; empty where there are none.
    """

    durability: str
    source: str = "input"
    step: int = -1
    extra: bytes = b""


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """How an attempt ended, as stored.

    Args:
        value: the encoded return value, None where it is the saved one or there is none.
        error: the encoded error.
        again: the calls to try again when the run is resumed.
    """

    value: bytes | None = None
    error: bytes | None = None
    again: tuple[tuple[str, str, int], ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


@dataclass(frozen=True, slots=True)
class Request:
    """What an invocation asks of a thread.

    Args:
        workflow: the name of the workflow that was invoked.
        thread_id: the thread.
        kind: ``input`` starts a run, ``resume`` goes on with one, ``answer`` also answers its questions.
        answer: the answer, or a dict from question ids to answers.
        run_id: the name of a new run.
        input: its encoded input.
        head: its circumstances.
    """

    workflow: str
    thread_id: str
    kind: str
    answer: Any
    run_id: str
    input: bytes
    head: Head


@dataclass(frozen=True, slots=True)
class Admitted:
    """A run that may go on under a new fence.

    Args:
        thread: its thread.
        run: the run.
        records: the calls recorded so far, oldest first.
        saved: where the value of ``previous`` was saved and its encoded form; None on a thread's first run.
    """

    thread: ThreadRow
    run: RunRow
    records: list[Record]
    saved: tuple[str, bytes] | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended."""

    status: Status
    outcome: Outcome | None = None
    saved: bytes | None = None


def admit(request: Request, owner: Owner, serde: Serializer) -> Work:
    """Begin an attempt: of a new run, or of the thread's current one."""

    def work(transaction: Transaction) -> Admitted:
        now = time.time()
        opened = transaction.open(request.thread_id)
        if opened.thread is not None and owner.is_held(opened.thread, transaction, now):
            raise _busy(opened, now)
        if request.kind == "input":
            admitted = _new_run(request, opened, now)
            thread = admitted.thread if admitted.thread.no else transaction.put_thread(admitted.thread)
            run = transaction.put_run(replace(admitted.run, thread_no=thread.no))
            _abandon(opened.run, transaction, now)
        else:
            admitted = _resumed(request, opened, serde, transaction, now)
            thread, run = admitted.thread, transaction.put_run(admitted.run)
        owner.register(transaction, now)
        thread = replace(thread, fence=thread.fence + 1, run_no=run.no, owner=owner.name, since=now)
        transaction.put_thread(thread)
        return replace(admitted, thread=thread, run=run)

    return work


def _busy(opened: Opened, now: float) -> ThreadBusy:
    thread, run = opened.thread, opened.run
    assert thread is not None
    what = f"run {run.run_id} of workflow {run.workflow!r}" if run is not None else "a run"
    return ThreadBusy(
        f"thread {thread.thread_id!r} is busy: {what} has held it for {now - thread.since:.1f} seconds "
        f"(owner {thread.owner}). Wait for it to end, or use another thread."
    )


def _new_run(request: Request, opened: Opened, now: float) -> Admitted:
    run = RunRow(
        no=0,
        run_id=request.run_id,
        thread_no=0,
        workflow=request.workflow,
        status="running",
        attempt=1,
        created_at=now,
        updated_at=now,
        parent="" if opened.run is None else opened.run.run_id,
        head=_encode(request.head),
        input=request.input,
    )
    return Admitted(opened.thread or ThreadRow(0, request.thread_id), run, [], opened.saved)


def _abandon(run: RunRow | None, transaction: Transaction, now: float) -> None:
    """A new input leaves an open run behind; it stays in the history."""
    if run is not None and run.status in ("asked", "running"):
        transaction.put_run(replace(run, status="abandoned", updated_at=now))


def _resumed(request: Request, opened: Opened, serde: Serializer, transaction: Transaction, now: float) -> Admitted:
    thread, run = opened.thread, opened.run
    if thread is None or run is None or run.status not in RESUMABLE:
        raise _nothing_to_resume(request, run)
    if run.workflow != request.workflow:
        raise WorkflowMismatch(
            f"run {run.run_id} on thread {thread.thread_id!r} belongs to workflow {run.workflow!r}, and {request.workflow!r} "
            f"was asked to resume it. Resume it with {run.workflow!r}, or start a new run with an input."
        )
    records = decode_records(transaction.records(run.no))
    if request.kind == "answer":
        answers = _answers(request, run, records, serde)
        if answers:
            transaction.append(Chunk(thread.no, thread.fence, run.no, encode_records(answers)))
            records += answers
    records = _without_tried_again(run, records)
    run = replace(run, status="running", attempt=run.attempt + 1, updated_at=now, outcome=None)
    return Admitted(thread, run, records, opened.saved)


def _nothing_to_resume(request: Request, run: RunRow | None) -> Exception:
    where = f"thread {request.thread_id!r}"
    state = "has never run" if run is None else f"has nothing open: its last run {run.run_id} is {run.status}"
    if request.kind == "answer":
        return UnknownInterruptError(f"{where} {state}, so there is no question to answer. Start a run with an input.")
    return EmptyInputError(f"{where} {state}, so there is nothing to resume. Start a run with an input.")


# Answers.

_ID = re.compile(r"[0-9a-f]{32}")


def _answers(request: Request, run: RunRow, records: list[Record], serde: Serializer) -> list[Record]:
    """The records that answer a run's questions.

    Raises:
        UnknownInterruptError, AmbiguousAnswerError, AlreadyAnswered: see their names.
    """
    open_questions = {call_id(run.run_id, key): record for key, record in questions(records).items()}
    answered = {call_id(run.run_id, record.key): record for record in records if record.kind == ANSWERED}
    given = _by_id(request.answer, open_questions, answered)
    return [
        _answer(open_questions[name], answer, run, serde)
        for name, answer in given.items()
        if name in open_questions or _differs(name, answered[name], answer, run, serde)
    ]


def _by_id(value: Any, open_questions: Mapping[str, Record], answered: Mapping[str, Record]) -> dict[str, Any]:
    if isinstance(value, dict) and value and all(isinstance(k, str) and _ID.fullmatch(k) for k in value):
        unknown = [name for name in value if name not in open_questions and name not in answered]
        if unknown:
            raise UnknownInterruptError(f"no question has the id {unknown[0]}. {_what_is_open(open_questions)}")
        return value
    if not open_questions:
        raise UnknownInterruptError("the run has no open question: resume it with invoke(None, config).")
    if len(open_questions) > 1:
        raise AmbiguousAnswerError(
            f"a plain answer needs exactly one open question. {_what_is_open(open_questions)}. "
            "Answer by id: Command(resume={id: answer, ...})"
        )
    return {next(iter(open_questions)): value}


def _what_is_open(open_questions: Mapping[str, Record]) -> str:
    if not open_questions:
        return "No question is open"
    listed = (f"{name} (asked in {record.scope or 'the workflow'})" for name, record in open_questions.items())
    return f"Open are: {', '.join(listed)}"


def _answer(question: Record, answer: Any, run: RunRow, serde: Serializer) -> Record:
    place = record_place(run.run_id, question.key)
    return msgspec.structs.replace(question, kind=ANSWERED, data=serde.dumps(answer, place), started=time.time())


def _differs(name: str, answered: Record, answer: Any, run: RunRow, serde: Serializer) -> bool:
    """False for an answer that was given before: it counts once."""
    recorded = serde.loads(answered.data, record_place(run.run_id, answered.key))
    if type(recorded) is type(answer) and recorded == answer:
        return False
    raise AlreadyAnswered(
        f"question {name} has been answered with {recorded!r}: it cannot be answered with {answer!r} too."
    )


# What runs again.


def _without_tried_again(run: RunRow, records: list[Record]) -> list[Record]:
    """The records without the failures that the resumed attempt tries again.

    When the last attempt ended with an exception it named them. When it was killed nobody knows whether the workflow had
    seen the failures at the journal's end; nothing was built on them, so they are tried again.
    """
    if run.status == "running":
        end = len(records)
        while end and records[end - 1].kind == RAISED:
            end -= 1
        return records[:end]
    if run.outcome is None:
        return records
    again = {Key(*key) for key in read_outcome(run.outcome).again}
    return [record for record in records if record.kind != RAISED or record.key not in again]


def read_outcome(data: bytes) -> Outcome:
    """The stored end of a run."""
    try:
        return _decode_outcome(data)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"the stored outcome of a run cannot be read: {error}") from error


def settle(admitted: Admitted, ending: Ending) -> Work:
    """End an attempt: write how, and give the thread back."""

    def work(transaction: Transaction) -> None:
        thread, run = admitted.thread, admitted.run
        if transaction.fence(thread.no) != thread.fence:
            raise Superseded(
                f"run {run.run_id} on thread {thread.thread_id!r} has been taken over by another attempt; "
                "what this one did after that is not recorded"
            )
        outcome = None if ending.outcome is None else _encode(ending.outcome)
        done = ending.status == "done"
        transaction.put_run(
            replace(run, status=ending.status, updated_at=time.time(), outcome=outcome, saved=ending.saved)
        )
        transaction.put_thread(replace(thread, owner="", head_no=run.no if done else thread.head_no))

    return work
