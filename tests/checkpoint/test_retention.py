"""What a database keeps, and for how long; and saved values stored as differences."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from durably import Command, InMemorySaver, Workflow, entrypoint, interrupt, task
from durably.checkpoint import saved
from durably.checkpoint.base import BaseCheckpointer, RunRow
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import ConfigError, EmptyInputError, Superseded
from durably.serde import EncryptedSerializer, TypedSerializer
from durably.serde.delta import base_of
from savers import BACKENDS, open_saver, place_of

Make = Callable[[], BaseCheckpointer]


@pytest.fixture(params=[*BACKENDS, "memory-encrypted", "sqlite-encrypted"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCheckpointer]:
    kind, _, encrypted = request.param.partition("-")
    serde = EncryptedSerializer(keys=secrets.token_bytes(32)) if encrypted else TypedSerializer()
    with open_saver(place_of(kind, request, tmp_path), serde=serde) as made:
        yield made


def chat_on(saver: BaseCheckpointer) -> Workflow[str, int]:
    @entrypoint(checkpointer=saver)
    def chat(message: str, *, previous: list[str] | None = None) -> entrypoint.final[int, list[str]]:
        messages = [*(previous or []), message]
        return entrypoint.final(value=len(messages), save=messages)

    return chat


def lines(count: int) -> list[str]:
    return [secrets.token_hex(256) for _ in range(count)]


def stored_bytes(saver: BaseCheckpointer, thread_id: str) -> int:
    def work(transaction: Any) -> int:
        thread = transaction.open(thread_id).thread
        return sum(len(run.saved or b"") for run in transaction.runs(thread.no, 1 << 62, 10_000))

    (total,) = saver.transact([work])
    return int(total)


def test_a_growing_value_costs_what_was_added(saver: BaseCheckpointer) -> None:
    chat, said = chat_on(saver), lines(150)
    for number, line in enumerate(said, start=1):
        assert chat.invoke(line, thread_id="a") == number
    added = sum(map(len, said))
    assert stored_bytes(saver, "a") < 3 * added  # whole values would be 75 times as much


def test_every_version_of_a_growing_value_can_be_read(saver: BaseCheckpointer) -> None:
    chat, said = chat_on(saver), lines(70)
    for line in said:
        chat.invoke(line, thread_id="a")
    sizes = [
        snapshot.values for snapshot in chat.get_state_history(thread_id="a") if snapshot.metadata["source"] == "loop"
    ]
    assert sizes == list(range(70, 0, -1))
    history = [snapshot for snapshot in chat.get_state_history(thread_id="a") if snapshot.metadata["source"] == "loop"]
    for snapshot in history[::7]:
        assert chat.invoke("again", snapshot.config) == snapshot.values + 1


def test_a_new_process_reads_what_another_stored(tmp_path: Path) -> None:
    said = lines(40)
    with SqliteSaver(tmp_path / "runs.sqlite") as saver:
        for line in said:
            chat_on(saver).invoke(line, thread_id="a")
    with SqliteSaver(tmp_path / "runs.sqlite", serde=TypedSerializer()) as saver:  # has nothing in memory
        assert chat_on(saver).invoke("more", thread_id="a") == 41


def test_large_values_are_compressed_where_that_helps(saver: BaseCheckpointer) -> None:
    @entrypoint(checkpointer=saver)
    def repeat(text: str) -> str:
        return text * 10_000

    repeat.invoke("all work and no play ", thread_id="a")
    assert stored_bytes(saver, "a") < 10_000
    assert len(repeat.get_state(thread_id="a").values) == 210_000


def test_pruning_keeps_the_latest_runs_and_what_they_need(saver: BaseCheckpointer) -> None:
    chat, said = chat_on(saver), lines(60)
    for line in said:
        chat.invoke(line, thread_id="a")
    assert saver.prune("a", keep_last=3) == 56  # the base of the oldest one kept stays too
    assert [run.status for run in chat.runs("a", limit=100)] == ["done"] * 4
    assert chat.invoke("more", thread_id="a") == 61
    assert [s.values for s in chat.get_state_history(thread_id="a") if s.metadata["source"] == "loop"] == [
        61,
        60,
        59,
        58,
        57,
    ]
    assert saver.prune("a", keep_last=3) == 1


def test_pruning_by_age(saver: BaseCheckpointer) -> None:
    chat = chat_on(saver)
    for _ in range(3):
        chat.invoke("x", thread_id="a")
    assert saver.prune(older_than=3600) == 0
    assert saver.prune(older_than=timedelta(hours=1)) == 0
    assert saver.prune(older_than=datetime.now(UTC) - timedelta(hours=1)) == 0
    time.sleep(0.002)
    assert saver.prune(older_than=0) == 1
    assert chat.invoke("x", thread_id="a") == 4


def test_pruning_leaves_an_open_question_alone(saver: BaseCheckpointer) -> None:
    @entrypoint(checkpointer=saver)
    def ask(value: str) -> str:
        return f"{value} {interrupt('?')}"

    for number in range(3):
        ask.invoke(f"run {number}", thread_id="a")
    assert saver.prune(keep_last=0) == 2
    assert ask.invoke(Command(resume="answered"), thread_id="a") == "run 2 answered"


def test_a_history_reads_what_its_values_share_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "_recent", saved._Recent(0))
    connection = sqlite3.connect(tmp_path / "runs.db", check_same_thread=False)
    statements: list[str] = []
    with SqliteSaver(connection) as saver:

        @entrypoint(checkpointer=saver)
        def chat(message: str, *, previous: list[str] | None = None) -> list[str]:
            return [*(previous or []), message]

        for line in lines(30):
            chat.invoke(line, thread_id="a")
        connection.set_trace_callback(statements.append)
        values = [state.values for state in chat.get_state_history(thread_id="a")]
        connection.set_trace_callback(None)
    connection.close()
    assert [len(value) for value in values] == [n for turn in range(30, 0, -1) for n in (turn, turn - 1)]
    assert sum("recursive bases" in statement for statement in statements) == 1


@pytest.mark.parametrize("serde", [TypedSerializer, partial(EncryptedSerializer, keys=secrets.token_bytes(32))])
@pytest.mark.once("counts statements")
def test_the_value_that_was_saved_or_read_last_is_not_put_together_again(
    serde: Callable[[], TypedSerializer | EncryptedSerializer], tmp_path: Path
) -> None:
    connection = sqlite3.connect(tmp_path / "runs.db", check_same_thread=False)
    statements: list[str] = []

    def chat_on(saver: SqliteSaver) -> Any:
        @entrypoint(checkpointer=saver)
        def chat(message: str, *, previous: list[str] | None = None) -> list[str]:
            return [*(previous or []), message]

        return chat

    def reading(chat: Any, said: list[str]) -> int:
        statements.clear()
        assert chat.get_state(thread_id="a").values == said
        return sum(statement.lstrip().startswith(("select", "with")) for statement in statements)

    said = lines(30)
    with SqliteSaver(tmp_path / "runs.db", serde=serde()) as mine, SqliteSaver(connection, serde=serde()) as other:
        chat, elsewhere = chat_on(mine), chat_on(other)
        for line in said[:20]:
            chat.invoke(line, thread_id="a")
        connection.set_trace_callback(statements.append)
        assert [reading(elsewhere, said[:20]) for _ in range(3)] == [2, 1, 1]
        for line in said[20:]:
            elsewhere.invoke(line, thread_id="a")
        assert reading(elsewhere, said) == 1
        assert chat.get_state(thread_id="a").values == said
        connection.set_trace_callback(None)
    connection.close()


def test_a_value_that_somebody_else_has_saved_in_its_place_is_the_one_that_counts() -> None:
    fenced_off, other = TypedSerializer(), TypedSerializer()
    run = RunRow(1, "r", 1, "w", "done", 1, 0.0, 0.0, "", b"", b"")
    saved.stored_as("of an attempt that was fenced off", run, None, fenced_off)
    stored = saved.stored_as("of the one that took over", run, None, other)
    run = replace(run, saved=stored.saved, saved_no=stored.saved_no, saved_base=stored.saved_base)
    for serde in (fenced_off, other):
        (found,) = InMemorySaver().transact([lambda transaction, serde=serde: saved.load(transaction, run, serde)])
        assert found.value() == "of the one that took over"


@pytest.mark.parametrize("serde", [TypedSerializer(), EncryptedSerializer(keys=secrets.token_bytes(32))])
def test_what_is_said_is_stored_once(
    serde: TypedSerializer | EncryptedSerializer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "_recent", saved._Recent(0))  # as for a process that begins with each turn
    said = [secrets.token_hex(500) for _ in range(8)]
    with SqliteSaver(tmp_path / "runs.db", serde=serde) as saver:

        @entrypoint(checkpointer=saver)
        def chat(message: str, *, previous: list[str] | None = None) -> list[str]:
            return [*(previous or []), message]

        for turn, line in enumerate(said, 1):
            assert chat.invoke(line, thread_id="a") == said[:turn]
        assert chat.get_state(thread_id="a").values == said
        saver.copy_thread("a", "b")
        saver.delete_thread("a")
        assert chat.get_state(thread_id="b").values == said
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        sizes = [size for (size,) in connection.execute("select length(saved) from durably_run order by no")]
    assert all(size < 120 for size in sizes[1:])


BASED_FAR_BACK = 64
"""The version after so many is stored as a difference to one long before it."""


def chat_with_a_pause(saver: BaseCheckpointer, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Callable[[], Any]]]:
    """A long chat on thread a, as a process reads it that has nothing in memory, and what is done in its next turn."""
    monkeypatch.setattr(saved, "_recent", saved._Recent(0))
    monkeypatch.setattr(saved, "base_of", partial(base_of, width=32))  # otherwise it would take a thousand turns
    meanwhile: list[Callable[[], Any]] = []

    @entrypoint(checkpointer=saver)
    def chat(message: str, *, previous: list[str] | None = None) -> list[str]:
        while meanwhile:
            meanwhile.pop()()
        return [*(previous or []), message]

    for line in lines(BASED_FAR_BACK):
        chat.invoke(line, thread_id="a")
    return chat, meanwhile


def test_pruning_leaves_what_a_run_under_way_builds_on(
    saver: BaseCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, meanwhile = chat_with_a_pause(saver, monkeypatch)
    meanwhile += [lambda: saver.prune("a", keep_last=0)] * 2
    assert len(chat.invoke("x", thread_id="a")) == BASED_FAR_BACK + 1
    assert len(chat.get_state(thread_id="a").values) == BASED_FAR_BACK + 1
    assert saver.prune("a", keep_last=0) > 1
    assert len(chat.invoke("y", thread_id="a")) == BASED_FAR_BACK + 2


def test_deleting_what_a_run_under_way_builds_on_stops_it(
    saver: BaseCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, meanwhile = chat_with_a_pause(saver, monkeypatch)
    latest, *before = chat.runs("a", limit=100)
    meanwhile.append(lambda: saver.delete_for_runs([run.run_id for run in before]))
    with pytest.raises(Superseded):
        chat.invoke("x", thread_id="a")
    assert [run.status for run in chat.runs("a")] == ["stopped", "done"]
    assert len(chat.invoke(None, thread_id="a")) == BASED_FAR_BACK + 1
    assert len(chat.get_state(thread_id="a").values) == BASED_FAR_BACK + 1
    assert [run.run_id for run in chat.runs("a")][1:] == [latest.run_id]


def test_deleting_a_run_under_way_stops_it(saver: BaseCheckpointer) -> None:
    def delete() -> None:
        assert saver.delete_for_runs([ask.runs("a")[0].run_id]) == 1

    @entrypoint(checkpointer=saver)
    def ask(delete_it: bool) -> bool:
        if delete_it:
            delete()
        return delete_it

    assert ask.invoke(False, thread_id="a") is False
    with pytest.raises(Superseded):
        ask.invoke(True, thread_id="a")
    assert [run.status for run in ask.runs("a")] == ["done"]
    assert ask.get_state(thread_id="a").values is False


def test_deleting_other_runs_leaves_a_run_under_way_alone(saver: BaseCheckpointer) -> None:
    @entrypoint(checkpointer=saver)
    def count(deleted: int) -> int:
        return saver.delete_for_runs([run.run_id for run in count.runs("a")[2:]]) if deleted else 0

    for _ in range(3):
        count.invoke(0, thread_id="a")
    assert count.invoke(1, thread_id="a") == 2


@pytest.mark.parametrize(
    "arguments", [{}, {"keep_last": -1}, {"keep_last": True}, {"older_than": "yesterday"}, {"older_than": -1}]
)
def test_pruning_says_what_it_needs_to_know(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        InMemorySaver().prune(**arguments)


def test_pruning_gives_the_space_back(tmp_path: Path) -> None:
    @task
    def noise(_: int) -> bytes:
        return os.urandom(20_000)

    path = tmp_path / "runs.sqlite"
    with SqliteSaver(path) as saver:

        @entrypoint(checkpointer=saver)
        def work(x: int) -> None:
            noise(x).result()

        for number in range(50):
            work.invoke(number, thread_id="a")
        saver.reclaim()
        before = path.stat().st_size
        assert before > 1_000_000
        saver.prune(keep_last=1)
        assert path.stat().st_size < before / 5


def test_deleting_a_thread(saver: BaseCheckpointer) -> None:
    chat = chat_on(saver)
    chat.invoke("x", thread_id="a")
    chat.invoke("x", thread_id="b")
    assert saver.delete_thread("a") is True
    assert saver.delete_thread("a") is False
    assert chat.get_state(thread_id="a").values == {}
    assert chat.invoke("x", thread_id="a") == 1
    assert chat.invoke("x", thread_id="b") == 2


def test_copying_a_thread(saver: BaseCheckpointer) -> None:
    calls: list[int] = []

    @task
    def step(x: int) -> int:
        calls.append(x)
        return x + 1

    @entrypoint(checkpointer=saver)
    def ask(x: int, *, previous: list[Any] | None = None) -> list[Any]:
        return [*(previous or []), step(x).result(), interrupt("?")]

    ask.invoke(1, thread_id="a")
    ask.invoke(Command(resume="yes"), thread_id="a")
    ask.invoke(5, thread_id="a")
    assert saver.copy_thread("a", "b") == 2
    assert ask.get_state(thread_id="b").values == [2, "yes"]
    assert ask.invoke(Command(resume="no"), thread_id="b") == [2, "yes", 6, "no"]
    assert ask.invoke(Command(resume="maybe"), thread_id="a") == [2, "yes", 6, "maybe"]
    assert calls == [1, 5]
    first = list(ask.get_state_history(thread_id="b"))[-1]
    assert first.parent_config is None
    assert [call.value for call in ask.runs("b")[1].calls()] == [2, "?", "yes"]


def test_copies_need_a_source_and_a_free_name(saver: BaseCheckpointer) -> None:
    chat_on(saver).invoke("x", thread_id="a")
    with pytest.raises(ConfigError, match="no thread 'z'"):
        saver.copy_thread("z", "b")
    with pytest.raises(ConfigError, match="already"):
        saver.copy_thread("a", "a")


def test_deleting_runs_by_name(saver: BaseCheckpointer) -> None:
    chat = chat_on(saver)
    for _ in range(4):
        chat.invoke("x", thread_id="a")
    latest, third, *_ = chat.runs("a")
    assert saver.delete_for_runs([latest.run_id, "unknown"]) == 1
    assert chat.get_state(thread_id="a").values == 3
    assert saver.delete_for_runs([third.run_id]) == 1
    assert chat.invoke("x", thread_id="a") == 3
    with pytest.raises(EmptyInputError):
        chat.invoke(None, thread_id="a")


def test_the_async_twins(saver: BaseCheckpointer) -> None:
    chat = chat_on(saver)

    async def use_them() -> None:
        for _ in range(3):
            await chat.ainvoke("x", thread_id="a")
        assert await saver.acopy_thread("a", "b") == 3
        assert await saver.aprune("b", keep_last=1) == 1
        assert await saver.adelete_for_runs([chat.runs("a")[0].run_id]) == 1
        assert await saver.adelete_thread("a") is True

    asyncio.run(use_them())
