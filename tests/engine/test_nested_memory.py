"""``checkpointer=True`` on a nested workflow: it remembers across the runs of whoever calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durably import Command, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.serde import EncryptedSerializer
from savers import BACKENDS, open_saver, place_of


@pytest.fixture(params=[*BACKENDS, "encrypted"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCheckpointer]:
    serde = EncryptedSerializer(keys=bytes(32)) if request.param == "encrypted" else None
    with open_saver(place_of(request.param, request, tmp_path), serde=serde) as made:
        yield made


@entrypoint(checkpointer=True)
def tally(step: int, *, previous: int = 0) -> entrypoint.final[str, int]:
    return entrypoint.final(value=f"was {previous}", save=previous + step)


@entrypoint()
def forgetful(step: int, *, previous: int | None = None) -> str:
    return f"was {previous}"


def test_it_remembers_within_a_run_and_across_runs_of_a_thread(saver: BaseCheckpointer) -> None:
    @entrypoint(checkpointer=saver)
    def parent(step: int) -> list[str]:
        return [tally.invoke(step), tally.invoke(step), forgetful.invoke(step)]

    assert parent.invoke(1, thread_id="a") == ["was 0", "was 1", "was None"]
    assert parent.invoke(10, thread_id="a") == ["was 2", "was 12", "was None"]
    assert parent.invoke(1, thread_id="b") == ["was 0", "was 1", "was None"]


def test_a_resumed_run_sees_what_its_replayed_calls_saved(saver: BaseCheckpointer) -> None:
    @entrypoint(checkpointer=saver)
    def parent(step: int) -> list[str]:
        first = tally.invoke(step)
        interrupt("?")
        return [first, tally.invoke(step)]

    parent.invoke(1, thread_id="a")
    assert parent.invoke(Command(resume=None), thread_id="a") == ["was 0", "was 1"]
    parent.invoke(1, thread_id="a")
    assert parent.invoke(Command(resume=None), thread_id="a") == ["was 2", "was 3"]


def test_a_run_that_fails_changes_nothing_for_the_next(saver: BaseCheckpointer) -> None:
    @entrypoint(checkpointer=saver)
    def parent(fails: bool) -> str:
        said = tally.invoke(1)
        if fails:
            raise RuntimeError("broken")
        return said

    assert parent.invoke(False, thread_id="a") == "was 0"
    with pytest.raises(RuntimeError):
        parent.invoke(True, thread_id="a")
    assert parent.invoke(False, thread_id="a") == "was 1"


def test_updates_and_copies_keep_it(saver: BaseCheckpointer) -> None:
    @entrypoint(checkpointer=saver)
    def parent(step: int) -> str:
        return tally.invoke(step)

    parent.invoke(1, thread_id="a")
    parent.update_state({"configurable": {"thread_id": "a"}}, "changed")
    assert parent.invoke(1, thread_id="a") == "was 1"
    saver.copy_thread("a", "b")
    assert parent.invoke(1, thread_id="b") == "was 2"
    assert parent.invoke(1, thread_id="a") == "was 2"


def test_a_resumed_run_keeps_what_was_saved_inside_a_replayed_call(saver: BaseCheckpointer) -> None:
    @task
    def middle(step: int, fails: bool) -> str:
        said = tally.invoke(step)
        if fails:
            raise KeyError(said)
        return said

    @entrypoint(checkpointer=saver)
    def parent(step: int) -> list[Any]:
        first = middle(step, False).result()
        second = middle(step, True).exception()
        interrupt("?")
        return [first, str(second)]

    for expected in (["was 0", "'was 1'"], ["was 2", "'was 3'"]):
        parent.invoke(1, thread_id="a")
        assert parent.invoke(Command(resume=None), thread_id="a") == expected


def test_async_and_at_any_depth(saver: BaseCheckpointer) -> None:
    @entrypoint(checkpointer=True)
    async def inner(step: int, *, previous: int = 0) -> int:
        return previous + step

    @entrypoint()
    async def middle(step: int) -> int:
        return await inner.ainvoke(step)

    @entrypoint(checkpointer=saver)
    async def outer(step: int) -> list[int]:
        return [await middle.ainvoke(step), await inner.ainvoke(step)]

    async def twice() -> list[list[int]]:
        return [await outer.ainvoke(1, thread_id="a") for _ in range(2)]

    assert asyncio.run(twice()) == [[1, 1], [2, 2]]  # each place it is called from remembers for itself
