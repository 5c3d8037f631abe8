"""Answers are checked before anything is recorded, also by a process that never saw the type."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.engine import schemas
from durably.errors import ConfigError, InvalidAnswerError
from durably.types import Interrupt


@dataclasses.dataclass
class Review:
    approved: bool
    comment: str = ""


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=2, pattern="^[A-Z]")
    age: int = pydantic.Field(ge=0, lt=150)
    friends: list[Person] = []


class Even(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def is_even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("an even number, please")
        return number


class Point(msgspec.Struct):
    x: int
    y: int


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Range(TypedDict):
    low: int
    high: int


def asking(wanted: Any, saver: Any = None) -> Any:
    saver = saver or InMemorySaver()
    ran = []

    @task
    def work() -> str:
        ran.append(1)
        assert len(ran) == 1, "a finished task ran again"
        return "worked"

    @entrypoint(checkpointer=saver)
    def ask(_: Any) -> tuple[str, Review | Point | Person | Even | Colour | Any]:
        return work().result(), interrupt("what?", response_schema=wanted)

    return ask


@pytest.mark.parametrize(
    ("wanted", "good", "given_back", "bad"),
    [
        (bool, True, True, "yes"),
        (bool, False, False, 0),
        (int, 0, 0, True),
        (int, 7, 7, 7.5),
        (str, "", "", None),
        (float, 1, 1.0, "1"),
        (int | None, None, None, "none"),
        (Literal["accept", "reject"], "accept", "accept", "perhaps"),
        (list[int], [1, 2], [1, 2], [1, "2"]),
        (tuple[int, str], [1, "a"], (1, "a"), ["a", 1]),
        (dict[str, int], {"a": 1}, {"a": 1}, {"a": "1"}),
        (date, "2024-02-29", date(2024, 2, 29), 20240229),
        (date, date(2024, 2, 29), date(2024, 2, 29), 1.5),
        (Colour, "red", Colour.RED, "green"),
        (Colour, Colour.BLUE, Colour.BLUE, "BLUE"),
        (Review, {"approved": True}, Review(True), {"comment": "no"}),
        (Review, Review(False, "no"), Review(False, "no"), {"approved": "no"}),
        (Point, {"x": 1, "y": 2}, Point(1, 2), {"x": 1}),
        (Range, {"low": 1, "high": 2}, {"low": 1, "high": 2}, {"low": 1}),
        (Person, {"name": "Ada", "age": 36}, Person(name="Ada", age=36), {"name": "ada", "age": 36}),
        (Person, Person(name="Ada", age=36), Person(name="Ada", age=36), {"name": "Ada", "age": 150}),
        (
            Person,
            {"name": "Ada", "age": 36, "friends": [{"name": "Bob", "age": 3}]},
            Person(name="Ada", age=36, friends=[Person(name="Bob", age=3)]),
            {"name": "Ada", "age": 36, "friends": [{"name": "Bob", "age": -3}]},
        ),
        (pydantic.TypeAdapter(list[int]), [1], [1], "1"),
        ({"type": "string", "maxLength": 3}, "abc", "abc", "abcd"),
        ({"enum": [1, "a", None]}, None, None, True),
        ({"type": "object", "additionalProperties": False}, {}, {}, {"a": 1}),
        ({"oneOf": [{"minimum": 3}, {"maximum": 5}], "type": "number"}, 6, 6, 4),
        ({"allOf": [{"minimum": 3}, {"exclusiveMaximum": 5}]}, 3, 3, 5),
        ({"prefixItems": [{"const": "a"}], "items": {"type": "integer"}}, ["a", 1], ["a", 1], ["a", "b"]),
        ({}, object, None, None),
    ],
)  # fmt: skip
def test_what_fits_and_what_does_not(wanted: Any, good: Any, given_back: Any, bad: Any) -> None:
    if good is object:
        good = given_back = {"anything": [1, None]}
        bad = object()
    ask = asking(wanted)
    ask.invoke(1, thread_id="t")
    before = ask.runs("t")[0].calls()
    with pytest.raises(InvalidAnswerError, match="answer"):
        ask.invoke(Command(resume=bad), thread_id="t")
    assert [(c.key, c.status) for c in ask.runs("t")[0].calls()] == [(c.key, c.status) for c in before]
    assert ask.invoke(Command(resume=good), thread_id="t") == ("worked", given_back)


def test_a_refused_answer_leaves_the_question_open_and_says_what_is_wrong() -> None:
    ask = asking(Person)
    (question,) = ask.invoke(1, thread_id="t")["__interrupt__"]
    with pytest.raises(InvalidAnswerError) as caught:
        ask.invoke(Command(resume={question.id: {"name": "Ada", "age": "old"}}), thread_id="t")
    for part in (question.id, "$.age is 'old'", "integer", "still open"):
        assert part in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert ask.get_state(thread_id="t").interrupts == (question,)
    assert ask.runs("t")[0].status == "asked"


def test_the_question_carries_the_schema_here_and_in_storage() -> None:
    ask = asking(Review)
    (question,) = ask.invoke(1, thread_id="t")["__interrupt__"]
    (stored,) = ask.get_state(thread_id="t").interrupts
    assert isinstance(stored, Interrupt)
    assert question.response_schema == stored.response_schema == msgspec.json.schema(Review)
    plain = asking(None)
    (question,) = plain.invoke(1, thread_id="t")["__interrupt__"]
    assert question.response_schema is None


def test_one_wrong_answer_of_two_records_neither() -> None:
    @task
    def number() -> int:
        return interrupt("number?", response_schema=int)

    @task
    def text() -> str:
        return interrupt("text?", response_schema=str)

    @entrypoint(checkpointer=InMemorySaver())
    def run(_: int) -> Any:
        return [each.result() for each in (number(), text())]

    ids = {q.value: q.id for q in run.invoke(1, thread_id="t")["__interrupt__"]}
    with pytest.raises(InvalidAnswerError):
        run.invoke(Command(resume={ids["number?"]: 1, ids["text?"]: 2}), thread_id="t")
    assert {q.value for q in run.get_state(thread_id="t").interrupts} == set(ids)
    assert run.invoke(Command(resume={ids["number?"]: 1, ids["text?"]: "2"}), thread_id="t") == [1, "2"]


def test_checks_that_no_schema_can_express_open_the_question_again() -> None:
    ask = asking(Even)
    (question,) = ask.invoke(1, thread_id="t")["__interrupt__"]
    with pytest.raises(InvalidAnswerError, match="an even number, please"):
        ask.invoke(Command(resume={"number": 3}), thread_id="t")
    assert ask.get_state(thread_id="t").interrupts == (question,)
    assert ask.invoke(None, thread_id="t")["__interrupt__"] == [question]
    assert ask.invoke(Command(resume={"number": 4}), thread_id="t") == ("worked", Even(number=4))


def test_a_schema_that_changes_while_the_question_is_open() -> None:
    saver = InMemorySaver()
    asking(int, saver).invoke(1, thread_id="t")
    changed = entrypoint(checkpointer=saver, name="ask")(
        lambda _: (task(name="work")(lambda: "never")().result(), interrupt("what?", response_schema=str))
    )
    (question,) = changed.invoke(None, thread_id="t")["__interrupt__"]
    assert question.response_schema == {"type": "string"}
    with pytest.raises(InvalidAnswerError):
        changed.invoke(Command(resume=1), thread_id="t")
    assert changed.invoke(Command(resume="1"), thread_id="t") == ("worked", "1")


def test_an_answer_given_afresh_is_checked_too() -> None:
    ask = asking(int)
    (question,) = ask.invoke(1, thread_id="t")["__interrupt__"]
    ask.invoke(Command(resume=1), thread_id="t")
    start = ask.runs("t")[0].config
    with pytest.raises(InvalidAnswerError):
        ask.invoke(Command(resume={question.id: "two"}), start)
    assert ask.invoke(Command(resume={question.id: 2}), start) == ("worked", 2)
    answered = ask.runs("t")[0].calls()[-1]
    with pytest.raises(InvalidAnswerError):
        ask.fork(thread_id="t", set={answered: "three"})
    assert ask.fork(thread_id="t", set={answered: 3}) == ("worked", 3)


@pytest.mark.parametrize("wanted", [object(), "int", 3])
def test_what_nothing_can_be_checked_against(wanted: Any) -> None:
    with pytest.raises(ConfigError, match="response_schema"):
        asking(wanted).invoke(1, thread_id="t")


def test_keywords_that_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    wanted = {"type": "object", "patternProperties": {"^n_": {"type": "integer"}}}
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "import_module", missing)
        with pytest.raises(ConfigError, match=r"pip install \"durably\[schema\]\""):
            asking(wanted).invoke(1, thread_id="t")
    pytest.importorskip("jsonschema")
    ask = asking(wanted)
    ask.invoke(1, thread_id="t")
    with pytest.raises(InvalidAnswerError, match=r"\$\.n_a: 'x' is not of type 'integer'"):
        ask.invoke(Command(resume={"n_a": "x"}), thread_id="t")
    assert ask.invoke(Command(resume={"n_a": 1, "b": "x"}), thread_id="t") == ("worked", {"n_a": 1, "b": "x"})


def test_the_answer_comes_from_a_process_that_does_not_know_the_type(tmp_path: Path) -> None:
    program = """
import sys
from durably import Command, entrypoint, interrupt
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import InvalidAnswerError

with SqliteSaver("db.sqlite") as saver:
    @entrypoint(checkpointer=saver)
    def ask(_):
        raise SystemExit("the workflow ran")  # the answer is refused before

    try:
        ask.invoke(Command(resume={"approved": "perhaps"}), thread_id="t")
    except InvalidAnswerError as error:
        print("refused:", error)
"""
    with SqliteSaver(tmp_path / "db.sqlite") as saver:

        @entrypoint(checkpointer=saver)
        def ask(_: int) -> Review:
            return interrupt("?", response_schema=Review)

        ask.invoke(1, thread_id="t")
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.startswith("refused:"), done.stderr
        assert "$.approved is 'perhaps'" in done.stdout
        assert ask.invoke(Command(resume={"approved": True}), thread_id="t") == Review(True)
