"""The table of `docs/how-to/ship-a-change.md`: what happens to a run that is open when the code changes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.errors import NonDeterminismError, ReplayWarning, WorkflowMismatch

ran: Counter[Any] = Counter()


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()


def make(name: str = "step") -> Any:
    @task(name=name)
    def step(what: str) -> str:
        ran[what] += 1
        return what

    return step


def with_parameter() -> Any:
    @task(name="step")
    def step(what: str, loudly: bool = False) -> str:
        ran[what] += 1
        return what

    return step


def as_async() -> Any:
    @task(name="step")
    async def step(what: str) -> str:
        ran[what] += 1
        return what

    return step


def original(step: Any) -> Any:
    return [step("a").result(), step("b").result(), interrupt("go on?")]


def swapped(step: Any) -> Any:
    b = step("b").result()
    return [step("a").result(), b, interrupt("go on?")]


def longer(step: Any) -> Any:
    return [*original(step), step("c").result()]


def shorter(step: Any) -> Any:
    return [step("a").result(), interrupt("go on?")]


def shorter_and_longer(step: Any) -> Any:
    return [*shorter(step), make("other")("c").result()]


def other_arguments(step: Any) -> Any:
    return [step("a").result(), step("B").result(), interrupt("go on?")]


def other_words(step: Any) -> Any:
    return [step("a").result(), step("b").result(), interrupt("shall we?")]


def earlier_call(step: Any) -> Any:
    return [make("other")("new").result(), *original(step)]


Body = Callable[[Any], Any]


def resumed(body: Body, step: Any, *, replay: Any = "warn", name: str = "run") -> tuple[Any, list[str], Counter[Any]]:
    """A run recorded by the original code and resumed by other code: its result, warnings, and what ran again."""
    saver = InMemorySaver()
    old = entrypoint(checkpointer=saver, name="run")(lambda _: original(make()))
    old.invoke(1, thread_id="t")
    ran.clear()
    new = entrypoint(checkpointer=saver, name=name, replay=replay)(lambda _: body(step))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ReplayWarning)
        result = new.invoke(Command(resume="yes"), thread_id="t")
    return result, [str(each.message) for each in caught], ran


@pytest.mark.parametrize("replay", ["warn", "strict"])
@pytest.mark.parametrize(
    ("body", "step", "result", "runs"),
    [
        (original, make, ["a", "b", "yes"], {}),
        (swapped, make, ["a", "b", "yes"], {}),
        (longer, make, ["a", "b", "yes", "c"], {"c": 1}),
        (shorter, make, ["a", "yes"], {}),
        (earlier_call, make, ["new", "a", "b", "yes"], {"new": 1}),
        (original, as_async, ["a", "b", "yes"], {}),
    ],
)
def test_safe(body: Body, step: Any, result: Any, runs: Any, replay: Any) -> None:
    assert resumed(body, step(), replay=replay) == (result, [], runs)


@pytest.mark.parametrize(
    ("body", "step", "result", "runs", "names"),
    [
        (original, with_parameter, ["a", "b", "yes"], {}, ["step.0", "step.1"]),
        (other_arguments, make, ["a", "b", "yes"], {}, ["step.1"]),
        (other_words, make, ["a", "b", "yes"], {}, ["interrupt.0"]),
        (shorter_and_longer, make, ["a", "yes", "c"], {"c": 1}, ["step.1"]),
        (original, lambda: make("renamed"), ["a", "b", "yes"], {"a": 1, "b": 1}, ["step.0"]),
    ],
)
@pytest.mark.once("what is new in one pass is recorded in the next")
def test_a_warning_names_the_call(body: Body, step: Any, result: Any, runs: Any, names: list[str]) -> None:
    found, messages, again = resumed(body, step())
    assert (found, again) == (result, runs)
    assert len(messages) == len(names)
    for name, message in zip(names, messages, strict=True):
        assert name in message
    with pytest.raises(NonDeterminismError):
        resumed(body, step(), replay="strict")


def test_a_renamed_workflow() -> None:
    with pytest.raises(WorkflowMismatch, match=r"'run'.*'renamed'"):
        resumed(original, make(), name="renamed")


def test_an_open_question_is_put_in_the_new_words() -> None:
    saver = InMemorySaver()
    old = entrypoint(checkpointer=saver, name="run")(lambda _: original(make()))
    (before,) = old.invoke(1, thread_id="t")["__interrupt__"]
    new = entrypoint(checkpointer=saver, name="run")(lambda _: other_words(make()))
    with pytest.warns(ReplayWarning):
        (after,) = new.invoke(None, thread_id="t")["__interrupt__"]
    assert (after.id, after.value) == (before.id, "shall we?")
    assert new.get_state(thread_id="t").interrupts == (after,)
