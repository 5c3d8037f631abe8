"""Backends under test. A new one is an entry in `BACKENDS`; the whole conformance suite then runs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from durably.context import current
from durably.store.base import BaseStore
from durably.store.memory import InMemoryStore
from durably.store.postgres import PostgresStore
from durably.store.sqlite import SqliteStore
from durably.store.sqlite.aio import AsyncSqliteStore


class MakeStore(Protocol):
    """Makes an empty store; the options are ``index``, ``ttl`` and ``clock``."""

    def __call__(self, **options: Any) -> BaseStore: ...


Maker = Callable[[pytest.FixtureRequest, ExitStack, dict[str, Any]], BaseStore]


def memory(request: pytest.FixtureRequest, stack: ExitStack, options: dict[str, Any]) -> BaseStore:
    return InMemoryStore(**options)


def sqlite_file(request: pytest.FixtureRequest, stack: ExitStack, options: dict[str, Any]) -> BaseStore:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("store")
    return stack.enter_context(SqliteStore(folder / "store.db", **options))


def sqlite_memory(request: pytest.FixtureRequest, stack: ExitStack, options: dict[str, Any]) -> BaseStore:
    return stack.enter_context(AsyncSqliteStore(":memory:", **options))


def postgres(request: pytest.FixtureRequest, stack: ExitStack, options: dict[str, Any]) -> BaseStore:
    place = request.getfixturevalue("postgres_server").place()
    store = stack.enter_context(PostgresStore(place.conninfo, schema=place.schema, **options))
    store.setup()
    return store


BACKENDS: dict[str, Maker] = {
    "memory": memory,
    "sqlite": sqlite_file,
    "sqlite-memory": sqlite_memory,
    "postgres": postgres,
}


@pytest.fixture(params=list(BACKENDS))
def make_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    with ExitStack() as stack:
        yield lambda **options: BACKENDS[request.param](request, stack, options)


@pytest.fixture
def store(make_store: MakeStore) -> BaseStore:
    return make_store()


class Clock:
    """A time that passes when a test says so, and a microsecond at each look."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now

    def minutes(self, count: float) -> None:
        self.now += count * 60


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Letters:
    """An embedder whose meaning of a text is how often each letter occurs; it notes what it was asked."""

    dims = 26

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> list[float]:
        return [float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"]


@pytest.fixture
def letters() -> Letters:
    return Letters()


class Call:
    """Stands in for the engine: the call under way is of this run, and has this id."""

    def __init__(self, run_id: str, call_id: str) -> None:
        self.names = run_id, call_id

    def once(self, store: BaseStore) -> tuple[str, str]:
        return self.names


@pytest.fixture
def in_call() -> Iterator[Callable[[str, str], None]]:
    """Returns a function that says which call of which run the test is in."""
    before = current.set(None)
    yield lambda run_id, call_id: void(current.set(Call(run_id, call_id)))  # type: ignore[arg-type]
    current.reset(before)


def void(_: object) -> None:
    return None
