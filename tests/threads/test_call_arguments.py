"""What people are told of a call's arguments."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.engine.summary import summary_of
from durably.errors import ReplayWarning
from durably.serde import EncryptedSerializer


@dataclass
class Order:
    number: int

    def __repr__(self) -> str:
        raise AssertionError("a summary runs no code of its arguments")


@task
def ship(order: Order, place: str, weights: list[int], express: bool = False) -> str:
    return place


@pytest.mark.parametrize("encrypted", [False, True])
def test_calls_are_listed_with_their_arguments(encrypted: bool) -> None:
    saver = InMemorySaver(serde=EncryptedSerializer(keys=bytes(32)) if encrypted else None)

    @entrypoint(checkpointer=saver)
    def run(place: str) -> str:
        return ship(Order(1), place, [1, 2]).result() + interrupt("?")

    run.invoke("Turin", thread_id="a")
    run.invoke(Command(resume="!"), thread_id="a")
    expected = ["Order, 'Turin', list of 2, False", "", ""]
    assert [call.arguments for call in run.runs("a")[0].calls()] == expected
    saver.copy_thread("a", "b")
    assert [call.arguments for call in run.runs("b")[0].calls()] == expected


@pytest.mark.once("the program changes within an attempt")
def test_a_replay_warning_says_what_changed() -> None:
    places = iter(["Turin", "Rome"])

    @entrypoint(checkpointer=InMemorySaver())
    def run(_: int) -> str:
        return ship(Order(1), next(places), []).result() + interrupt("?")

    run.invoke(0, thread_id="a")
    with pytest.warns(ReplayWarning, match=r"they were Order, 'Turin', list of 0, False, and are now Order, 'Rome'"):
        assert run.invoke(Command(resume="!"), thread_id="a") == "Turin!"


def test_summaries_are_short_and_encrypted_where_values_are(tmp_path: Path) -> None:
    assert len(summary_of(["x" * 20] * 100)) == 120
    with SqliteSaver(tmp_path / "runs.sqlite", serde=EncryptedSerializer(keys=bytes(32))) as saver:

        @entrypoint(checkpointer=saver)
        def run(place: str) -> str:
            return ship(Order(1), place, []).result()

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run.invoke("secret-place", thread_id="a")
    assert b"secret-place" not in (tmp_path / "runs.sqlite").read_bytes()
