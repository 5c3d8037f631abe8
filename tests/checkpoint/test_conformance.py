"""Every checkpointer of the library passes the public suite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.memory import InMemorySaver
from durably.checkpoint.sqlite import SqliteSaver
from durably.serde import TypedSerializer
from durably.testing import CheckpointerConformance


class TestInMemorySaver(CheckpointerConformance):
    def make(self) -> BaseCheckpointer:
        return InMemorySaver()


class TestSqliteInMemory(CheckpointerConformance):
    def make(self) -> BaseCheckpointer:
        return SqliteSaver(":memory:")


class TestSqliteFile(CheckpointerConformance):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "runs.db"

    def make(self) -> BaseCheckpointer:
        return SqliteSaver(self.path)

    def reopen(self, checkpointer: BaseCheckpointer) -> BaseCheckpointer:
        return SqliteSaver(self.path, serde=TypedSerializer())


class TestSqliteGivenConnection(CheckpointerConformance):
    @pytest.fixture(autouse=True)
    def connection(self, tmp_path: Path) -> Iterator[None]:
        self.given = sqlite3.connect(tmp_path / "runs.db", check_same_thread=False)
        yield
        self.given.close()

    def make(self) -> BaseCheckpointer:
        return SqliteSaver(self.given)


def test_a_suite_that_does_not_say_how_to_make_its_checkpointer_fails() -> None:
    with pytest.raises(NotImplementedError, match=r"make\(\)"):
        CheckpointerConformance().test_a_stale_fence_appends_nothing()


class Forgetful(InMemorySaver):
    """Ignores fences: what the suite exists to find."""

    def append(self, chunks, *, durable=False):  # type: ignore[no-untyped-def]
        for chunk in chunks:
            self._tables.journals[chunk.run_no].append(chunk.data)
        return [True] * len(chunks)


def test_the_suite_finds_a_backend_that_ignores_fences() -> None:
    class Suite(CheckpointerConformance):
        def make(self) -> BaseCheckpointer:
            return Forgetful()

    with pytest.raises(AssertionError):
        Suite().test_a_stale_fence_appends_nothing()
