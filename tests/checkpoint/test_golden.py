"""Databases that earlier versions wrote: every later version reads them, and goes on where they were.

``python tests/checkpoint/test_golden.py`` writes the file of this version's schema if it is missing; files that are there
are never written anew.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from durably import Command, Workflow, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.sqlite import SqliteSaver
from durably.serde import failures

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*.sqlite"))


@dataclass
class Draft:
    topic: str
    words: tuple[int, ...]


calls: list[str] = []


@task
def write(topic: str) -> Draft:
    calls.append(topic)
    return Draft(topic, (1, 2, 3))


@task
def fails(topic: str) -> str:
    calls.append(f"fails {topic}")
    raise ConnectionError(f"no way to {topic}")


def story_on(saver: BaseCheckpointer) -> Workflow[str, Any]:
    @entrypoint(checkpointer=saver, name="story")
    def story(topic: str, *, previous: list[str] | None = None) -> entrypoint.final[Any, list[str]]:
        draft = write(topic).result()
        try:
            fails(topic).result()
        except ConnectionError as error:
            reason = str(error)
        answer = interrupt({"draft": draft.topic}, response_schema=str)
        return entrypoint.final(value=(draft, reason, answer), save=[*(previous or []), topic])

    return story


def write_golden(path: Path) -> None:
    """Threads in every state that a later version has to go on from."""
    failures._traceback = lambda error: ""  # it names paths of the machine that wrote the file
    with SqliteSaver(path) as saver:
        story = story_on(saver)
        for number in range(40):  # a chain of saved values with a long step in it
            story.invoke(f"topic {number}", thread_id="done")
            story.invoke(Command(resume=f"answer {number}"), thread_id="done")
        story.invoke("rivers", {"tags": ["nightly"], "metadata": {"owner": "ada"}}, thread_id="asked")
        story.update_state(None, "by hand", thread_id="updated")
        saver.reclaim()


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    calls.clear()
    copy = tmp_path / "old.sqlite"
    shutil.copy(request.param, copy)
    with SqliteSaver(copy) as saver:
        yield story_on(saver)


def test_there_is_a_file_for_every_schema() -> None:
    assert FILES


def test_finished_runs_are_read(story: Workflow[str, Any]) -> None:
    expected = (Draft("topic 39", (1, 2, 3)), "no way to topic 39", "answer 39")
    assert story.get_state(thread_id="done").values == expected
    assert (
        len([s for s in story.get_state_history(thread_id="done") if s.metadata and s.metadata["source"] == "loop"])
        == 40
    )
    names = [(call.name, call.status) for call in story.runs("done")[0].calls()]
    assert names == [("write", "returned"), ("fails", "raised"), ("interrupt", "asked"), ("interrupt", "answered")]
    assert story.get_state(thread_id="updated").values == "by hand"


def test_an_open_question_is_answered_without_repeating_a_call(story: Workflow[str, Any]) -> None:
    snapshot = story.get_state(thread_id="asked")
    assert [question.value for question in snapshot.interrupts] == [{"draft": "rivers"}]
    assert snapshot.metadata is not None and snapshot.metadata["owner"] == "ada"
    result = story.invoke(Command(resume="yes"), thread_id="asked")
    assert result == (Draft("rivers", (1, 2, 3)), "no way to rivers", "yes")
    assert calls == []


def test_the_next_run_sees_what_was_saved(story: Workflow[str, Any]) -> None:
    seen: list[int] = []

    @entrypoint(checkpointer=story.checkpointer, name="story")
    def count(_: str, *, previous: list[str]) -> int:
        seen.append(len(previous))
        return len(previous)

    assert count.invoke("", thread_id="done") == 40
    assert story.fork(story.runs("done", limit=100)[-1].config) is not None


if __name__ == "__main__":
    import test_golden  # under the name by which the tests know its classes

    from durably.checkpoint.sqlite.backend import SCHEMA

    target = GOLDEN / f"schema-{SCHEMA.version}.sqlite"
    if target.exists():
        sys.exit(f"{target.name} is there already")
    test_golden.write_golden(target)
