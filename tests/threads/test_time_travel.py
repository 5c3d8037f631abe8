"""Going on from a moment of the past: forks, branches, questions answered afresh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durably import Command, Workflow, entrypoint, get_config, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.errors import ConfigError, EmptyInputError, UnknownInterruptError, WorkflowMismatch
from durably.serde import EncryptedSerializer
from savers import BACKENDS, open_saver, place_of

CONFIG = {"configurable": {"thread_id": "t"}}
SECRET = bytes(range(32))


@pytest.fixture(params=[*BACKENDS, "encrypted"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCheckpointer]:
    """Forks copy values; encryption binds them to their place, so copies have to be sealed anew."""
    serde = EncryptedSerializer(keys=SECRET) if request.param == "encrypted" else None
    with open_saver(place_of(request.param, request, tmp_path), serde=serde) as checkpointer:
        yield checkpointer


class Story:
    """A workflow with two tasks and a question between them, which counts what its tasks do."""

    def __init__(self, saver: BaseCheckpointer) -> None:
        self.ran: list[Any] = []
        self.broken = False

        @task
        def draft(topic: str) -> str:
            self.ran.append(("draft", topic))
            return f"on {topic}"

        @task
        def polish(text: str, how: Any) -> str:
            self.ran.append(("polish", text, how))
            if self.broken:
                raise ValueError("broken")
            return f"{text} ({how})"

        @entrypoint(checkpointer=saver)
        def story(topic: str, *, previous: Any = None) -> Any:
            text = draft(topic).result()
            how = interrupt(f"how? {text}")
            return [polish(text, how).result(), previous]

        self.flow: Workflow[str, Any] = story

    def take(self) -> list[Any]:
        taken, self.ran = self.ran, []
        return taken

    def ask(self, topic: str) -> str:
        """Start a run; the id of its question."""
        question: Any = self.flow.invoke(topic, CONFIG)
        return str(question["__interrupt__"][0].id)


@pytest.fixture
def story(saver: BaseCheckpointer) -> Story:
    return Story(saver)


@pytest.fixture
def told(story: Story) -> Story:
    """Two runs that are done: on a, then on b."""
    for topic in "ab":
        story.ask(topic)
        story.flow.invoke(Command(resume=topic.upper()), CONFIG)
    story.take()
    return story


A, B = ["on a (A)", None], ["on b (B)", ["on a (A)", None]]


def moments(story: Story) -> dict[tuple[str, int], dict[str, Any]]:
    """The config of each run's start and end, the first run being 0."""
    history = [m for m in story.flow.get_state_history(CONFIG) if m.metadata]
    ids = sorted({m.metadata["run_id"] for m in history if m.metadata})
    return {("start" if m.next else "end", ids.index(m.metadata["run_id"])): m.config for m in history if m.metadata}


class TestACheckpointInTheConfig:
    def test_get_state_shows_that_moment(self, told: Story, do: Any) -> None:
        at = moments(told)
        values = {name: do(told.flow, "get_state", config).values for name, config in at.items()}
        assert values == {("start", 0): {}, ("end", 0): A, ("start", 1): A, ("end", 1): B}
        for config in at.values():
            state = do(told.flow, "get_state", config)
            assert state.config == config

    def test_none_at_a_start_runs_it_again(self, told: Story, do: Any) -> None:
        asked = do(told.flow, "invoke", None, moments(told)["start", 1])
        assert asked["__interrupt__"][0].value == "how? on b"
        assert told.take() == [("draft", "b")]
        state = do(told.flow, "get_state", CONFIG)
        assert state.metadata["source"] == "fork"
        assert state.parent_config == moments(told)["start", 1]
        assert do(told.flow, "invoke", Command(resume="again"), CONFIG) == ["on b (again)", A]
        assert do(told.flow, "get_state", CONFIG).values == ["on b (again)", A]

    def test_a_fork_of_the_first_run_has_its_previous(self, told: Story, do: Any) -> None:
        do(told.flow, "invoke", None, moments(told)["start", 0])
        assert do(told.flow, "invoke", Command(resume=1), CONFIG) == ["on a (1)", None]

    def test_none_at_an_end_returns_its_value(self, told: Story, do: Any) -> None:
        at = moments(told)
        assert do(told.flow, "invoke", None, at["end", 0]) == A
        assert do(told.flow, "invoke", None, at["end", 1]) == B
        assert told.take() == []
        assert moments(told) == at

    def test_an_input_at_an_end_starts_a_branch(self, told: Story, do: Any) -> None:
        at = moments(told)
        do(told.flow, "invoke", "c", at["end", 0])
        assert do(told.flow, "get_state", CONFIG).parent_config == at["end", 0]
        assert do(told.flow, "invoke", Command(resume="C"), CONFIG) == ["on c (C)", A]
        assert do(told.flow, "get_state", CONFIG).values == ["on c (C)", A]

    def test_an_input_at_a_start_starts_a_branch(self, told: Story, do: Any) -> None:
        do(told.flow, "invoke", "c", moments(told)["start", 0])
        assert do(told.flow, "invoke", Command(resume="C"), CONFIG) == ["on c (C)", None]

    def test_of_a_run_that_is_open_it_is_how_the_thread_stands(self, story: Story, do: Any) -> None:
        story.ask("a")
        at = do(story.flow, "get_state", CONFIG).config
        asked = do(story.flow, "invoke", None, at)
        assert asked["__interrupt__"][0].value == "how? on a"
        assert do(story.flow, "invoke", Command(resume="A"), at) == A
        assert story.take() == [("draft", "a"), ("polish", "on a", "A")]
        assert len(do(story.flow, "runs", "t")) == 1

    def test_a_failed_run_goes_on_at_its_checkpoint(self, story: Story, do: Any) -> None:
        story.ask("a")
        story.broken = True
        with pytest.raises(ValueError, match="broken"):
            story.flow.invoke(Command(resume="A"), CONFIG)
        story.broken = False
        assert do(story.flow, "invoke", None, do(story.flow, "get_state", CONFIG).config) == A
        assert len(do(story.flow, "runs", "t")) == 1

    def test_a_cancelled_run_runs_again(self, story: Story, do: Any) -> None:
        story.ask("a")
        story.flow.cancel(CONFIG)
        (run,) = story.flow.runs("t")
        assert do(story.flow, "invoke", None, run.config)["__interrupt__"]
        assert [run.status for run in story.flow.runs("t")] == ["asked", "cancelled"]

    def test_another_workflow_cannot(self, told: Story, saver: BaseCheckpointer, do: Any) -> None:
        @entrypoint(checkpointer=saver)
        def other(x: str) -> str:
            return x

        for moment in (("start", 0), ("end", 0)):
            with pytest.raises(WorkflowMismatch):
                do(other, "invoke", None, moments(told)[moment])

    def test_circumstances_of_the_run_hold_in_its_fork(self, saver: BaseCheckpointer, do: Any) -> None:
        @entrypoint(checkpointer=saver)
        def flow(_: str) -> Any:
            config = get_config()
            return [config["tags"], config["metadata"].get("desk"), config["configurable"].get("user")]

        given = {"configurable": {"thread_id": "t", "user": "ada"}, "tags": ["x"], "metadata": {"desk": 4}}
        assert do(flow, "invoke", "", given) == [["x"], 4, "ada"]
        assert do(flow, "invoke", None, flow.runs("t")[0].config) == [["x"], 4, "ada"]
        again = {**flow.runs("t")[0].config, "metadata": {"desk": 5}}
        assert do(flow, "invoke", None, again) == [["x"], 5, "ada"]


class TestAnsweringAfresh:
    def test_a_run_that_is_done(self, told: Story, do: Any) -> None:
        second = told.flow.runs("t")[0]
        question = next(call.id for call in second.calls() if call.name == "interrupt")
        for config in (second.config, moments(told)["end", 1]):
            assert do(told.flow, "invoke", Command(resume={question: "new"}), config) == ["on b (new)", A]
            assert told.take() == [("polish", "on b", "new")]
        assert told.flow.invoke(None, moments(told)["end", 1]) == B

    def test_a_run_that_is_still_open(self, saver: BaseCheckpointer, do: Any) -> None:
        @entrypoint(checkpointer=saver)
        def two(_: str) -> Any:
            return [interrupt("first?"), interrupt("second?")]

        question = two.invoke("", CONFIG)["__interrupt__"][0].id  # type: ignore[index,call-overload]
        two.invoke(Command(resume=1), CONFIG)
        (run,) = two.runs("t")
        same = do(two, "invoke", Command(resume={question: 1}), run.config)
        assert same["__interrupt__"][0].value == "second?"
        assert len(two.runs("t")) == 1
        other = do(two, "invoke", Command(resume={question: 9}), run.config)
        assert other["__interrupt__"][0].value == "second?"
        assert [run.status for run in two.runs("t")] == ["asked", "abandoned"]
        assert do(two, "invoke", Command(resume=2), CONFIG) == [9, 2]

    def test_an_open_question_of_an_abandoned_run(self, saver: BaseCheckpointer, do: Any) -> None:
        ran: list[str] = []

        @task
        def work(name: str) -> str:
            ran.append(name)
            return name

        @task
        def ask(name: str) -> Any:
            return interrupt(name)

        @entrypoint(checkpointer=saver)
        def flow(name: str) -> Any:
            question, other = ask(name), work(name)
            return [other.result(), question.result()]

        asked: Any = flow.invoke("a", CONFIG)
        flow.invoke("b", CONFIG)
        assert ran == ["a", "b"]
        old = flow.runs("t")[1]
        answer = Command(resume={asked["__interrupt__"][0].id: "yes"})
        with pytest.raises(UnknownInterruptError, match="no question"):
            do(flow, "invoke", answer, CONFIG)
        assert do(flow, "invoke", answer, old.config) == ["a", "yes"]
        assert ran == ["a", "b"]
        assert do(flow, "get_state", CONFIG).values == ["a", "yes"]

    def test_needs_the_id_of_one_of_its_questions(self, told: Story, do: Any) -> None:
        at = moments(told)["start", 0]
        with pytest.raises(UnknownInterruptError, match=r"run\.calls\(\)"):
            do(told.flow, "invoke", Command(resume="plain"), at)
        with pytest.raises(UnknownInterruptError, match="0123"):
            do(told.flow, "invoke", Command(resume={"0123456789abcdef" * 2: 1}), at)
        assert told.take() == []


class TestFork:
    def test_before_a_call(self, told: Story, do: Any) -> None:
        first, question, last = (c for c in told.flow.runs("t")[0].calls() if c.status != "asked")
        assert do(told.flow, "fork", CONFIG, before=last) == B
        assert told.take() == [("polish", "on b", "B")]
        asked = do(told.flow, "fork", {**told.flow.runs("t")[-1].config}, before=first)
        assert asked["__interrupt__"][0].value == "how? on a"
        assert told.take() == [("draft", "a")]
        assert question.status == "answered"

    def test_with_other_results(self, told: Story, do: Any) -> None:
        run = told.flow.runs("t")[0]
        first, question, last = (c for c in run.calls() if c.status != "asked")
        assert do(told.flow, "fork", run.config, before=last, set={question: "set"}) == ["on b (set)", A]
        assert told.take() == [("polish", "on b", "set")]
        assert do(told.flow, "fork", run.config, set={last: "all"}) == ["all", A]
        assert told.take() == []
        assert do(told.flow, "fork", run.config, set={first.key: "x", question.key: 1})[0] == "x (1)"
        assert told.take() == [("polish", "x", 1)]

    def test_with_one_result_what_came_after_it_runs_again(self, saver: BaseCheckpointer, do: Any) -> None:
        @task
        def add(x: int) -> int:
            return x + 1

        @entrypoint(checkpointer=saver)
        def chain(x: int) -> int:
            for _ in range(3):
                x = add(x).result()
            return x

        assert chain.invoke(0, CONFIG) == 3
        first, *_ = chain.runs("t")[0].calls()
        assert do(chain, "fork", CONFIG, set={first: 100}) == 102
        assert [call.value for call in chain.runs("t")[0].calls()] == [100, 101, 102]

    def test_new_call_ids_for_what_runs_again_and_for_what_is_copied(self, told: Story, do: Any) -> None:
        old = told.flow.runs("t")[0]
        do(told.flow, "fork", CONFIG, before=old.calls()[-1])
        new = told.flow.runs("t")[0]
        assert new.run_id != old.run_id
        assert [c.value for c in new.calls()] == [c.value for c in old.calls()]
        assert not {c.id for c in new.calls()} & {c.id for c in old.calls()}

    def test_a_call_with_calls_of_its_own_runs_again_as_a_whole(self, saver: BaseCheckpointer, do: Any) -> None:
        ran: list[str] = []

        @task
        def inner(name: str) -> str:
            ran.append(name)
            return name

        @task
        def outer(name: str) -> str:
            return inner(name).result() + inner(name + "'").result()

        @entrypoint(checkpointer=saver)
        def flow(_: str) -> list[str]:
            return [outer(name).result() for name in "ab"]

        flow.invoke("", CONFIG)
        calls = {str(call.key): call for call in flow.runs("t")[0].calls()}
        ran.clear()
        do(flow, "fork", CONFIG, before=calls["outer.1"])
        assert ran == ["b", "b'"]
        ran.clear()
        do(flow, "fork", CONFIG, before=calls["outer.0/inner.1"])
        assert ran == ["a'", "b", "b'"]

    def test_without_anything_what_failed_is_tried_again(self, story: Story, do: Any) -> None:
        story.ask("a")
        story.broken = True
        with pytest.raises(ValueError, match="broken"):
            story.flow.invoke(Command(resume="A"), CONFIG)
        story.broken = False
        story.take()
        assert do(story.flow, "fork", CONFIG) == A
        assert story.take() == [("polish", "on a", "A")]

    def test_of_a_fork_of_a_fork(self, told: Story, do: Any) -> None:
        for number in range(3):
            calls = [c for c in told.flow.runs("t")[0].calls() if c.status == "answered"]
            assert do(told.flow, "fork", CONFIG, set={calls[0]: number}) == [f"on b ({number})", A]
        assert told.take() == [("polish", "on b", number) for number in range(3)]
        assert do(told.flow, "invoke", "c", CONFIG)["__interrupt__"]
        assert do(told.flow, "invoke", Command(resume="C"), CONFIG) == ["on c (C)", ["on b (2)", A]]

    def test_errors(self, told: Story, do: Any) -> None:
        with pytest.raises(EmptyInputError, match="never run"):
            do(told.flow, "fork", {"configurable": {"thread_id": "empty"}})
        for how in ({"before": ("", "nothing", 0)}, {"set": {("", "nothing", 0): 1}}):
            with pytest.raises(ConfigError, match="no recorded call"):
                do(told.flow, "fork", CONFIG, **how)
        assert len(told.flow.runs("t")) == 2


def test_a_branch_of_the_past_and_the_previous_of_a_rolled_back_fork(saver: BaseCheckpointer) -> None:
    """What a fork has not finished leaves ``previous`` alone."""

    @entrypoint(checkpointer=saver)
    def total(amount: int, *, previous: int | None = None) -> Any:
        return interrupt("sure?") if amount == 0 else (previous or 0) + amount

    total.invoke(1, CONFIG)
    end = total.get_state(CONFIG).config
    total.invoke(10, CONFIG)
    total.invoke(0, end)
    assert total.invoke(100, CONFIG) == 111
