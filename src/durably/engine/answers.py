"""Answers to questions: which question each belongs to, and whether it may be given."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from ..checkpoint.base import RunRow
from ..errors import AlreadyAnswered, AmbiguousAnswerError, UnknownInterruptError
from ..serde import Serializer
from .identity import call_id, record_place
from .journal import ANSWERED, Record, questions
from .schemas import check

__all__ = ["answers_for", "check_answer", "is_by_id"]

_ID = re.compile(r"[0-9a-f]{32}")


def is_by_id(answer: Any) -> bool:
    """Whether an answer is a dict from question ids to answers."""
    return isinstance(answer, dict) and bool(answer) and all(isinstance(k, str) and _ID.fullmatch(k) for k in answer)


def answers_for(answer: Any, run: RunRow, records: list[Record], serde: Serializer) -> list[Record]:
    """The records that answer a run's questions; none for an answer that was given before.

    Raises:
        UnknownInterruptError: there is no such question, or none at all.
        AmbiguousAnswerError: a plain answer, and several questions.
        AlreadyAnswered: the question has a different answer.
        InvalidAnswerError: an answer does not fit its question's schema.
    """
    asked = {call_id(run.run_id, key): record for key, record in questions(records).items()}
    answered = {call_id(run.run_id, record.key): record for record in records if record.kind == ANSWERED}
    given = answer if is_by_id(answer) else _the_open_one(answer, asked)
    for name in given:
        if name not in asked and name not in answered:
            raise UnknownInterruptError(f"no question of run {run.run_id} has the id {name}. {_what_is_open(asked)}.")
    return [
        _answered(asked[name], value, run, serde)
        for name, value in given.items()
        if name in asked or _is_new(name, answered[name], value, run, serde)
    ]


def _the_open_one(answer: Any, asked: Mapping[str, Record]) -> dict[str, Any]:
    if not asked:
        raise UnknownInterruptError("the run has no open question; resume it with invoke(None, config)")
    if len(asked) > 1:
        raise AmbiguousAnswerError(
            f"a plain answer needs exactly one open question. {_what_is_open(asked)}. "
            "Answer by id: Command(resume={id: answer, ...})"
        )
    return {next(iter(asked)): answer}


def _what_is_open(asked: Mapping[str, Record]) -> str:
    if not asked:
        return "No question is open"
    listed = (f"{name} (asked in {record.scope or 'the workflow'})" for name, record in asked.items())
    return f"Open are: {', '.join(listed)}"


def check_answer(question: Record, answer: Any, run: RunRow, serde: Serializer) -> None:
    """See that an answer fits its question's schema, if that has one.

    Raises:
        InvalidAnswerError: it does not.
    """
    if question.schema:
        schema = serde.loads(question.schema, record_place(run.run_id, question.key))
        check(answer, schema, call_id(run.run_id, question.key))


def _answered(question: Record, answer: Any, run: RunRow, serde: Serializer) -> Record:
    check_answer(question, answer, run, serde)
    data = serde.dumps(answer, record_place(run.run_id, question.key))
    return msgspec.structs.replace(question, kind=ANSWERED, data=data, started=time.time())


def _is_new(name: str, answered: Record, answer: Any, run: RunRow, serde: Serializer) -> bool:
    """False for the answer that was given before: it counts once."""
    recorded = serde.loads(answered.data, record_place(run.run_id, answered.key))
    if type(recorded) is type(answer) and recorded == answer:
        return False
    raise AlreadyAnswered(
        f"question {name} has been answered with {recorded!r}, so it cannot be answered with {answer!r}. To go on from "
        "another answer, fork the run: give the checkpoint_id of its start in the config."
    )
