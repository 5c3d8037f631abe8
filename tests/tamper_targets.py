"""What is tampered with besides runs: the stores and caches of a program, how they are filled and how programs use them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from durably import CachePolicy, InMemorySaver, entrypoint, get_store, task
from durably.cache.sqlite import SqliteCache
from durably.store.base import BaseStore
from durably.store.postgres import PostgresStore
from durably.store.sqlite import SqliteStore

Use = Callable[[], Any]


@dataclass(frozen=True)
class Target:
    """Something stored.

    Args:
        tables: where it is.
        fill: makes rows of every kind in an empty place, with a serializer.
        opened: opens a place, and gives the things that programs do with it; each may be refused.
    """

    tables: tuple[str, ...]
    fill: Callable[[str, Any], None]
    opened: Callable[[str, Any, random.Random], Any]


# A store.


def embed(texts: list[str]) -> list[list[float]]:
    """So that texts lie somewhere."""
    return [[float(len(text)), float(text.count("a")), 1.0] for text in texts]


@contextmanager
def store_at(place: str, serde: Any) -> Iterator[BaseStore]:
    """A store, on SQLite with an index."""
    if place.startswith("postgres "):
        _, schema, conninfo = place.split(" ", 2)
        with PostgresStore(conninfo, schema=schema, serde=serde) as store:
            yield store
    else:
        with SqliteStore(place, serde=serde, index={"dims": 3, "embed": embed, "fields": ["text"]}) as store:
            yield store


def remember_on(store: BaseStore) -> Any:
    """A workflow that writes once."""

    @task
    def remember(n: int) -> None:
        get_store().put(("once",), str(n), {"text": "once"}, once=True)

    return entrypoint(checkpointer=InMemorySaver(), store=store, name="remember")(lambda n: remember(n).result())


def fill_store(place: str, serde: Any) -> None:
    """Items with and without an end."""
    if place.startswith("postgres "):
        _, schema, conninfo = place.split(" ", 2)
        with PostgresStore(conninfo, schema=schema) as store:
            store.setup()
    with store_at(place, serde) as store:
        for n in range(4):
            store.put(("users", f"u{n}"), "card", {"text": "banana" * n, "n": n, "tags": ["a"]})
        store.put(("users", "u1"), "brief", {"text": "gone soon", "when": (1, 2.5)}, ttl=100)
        remember_on(store).invoke(1, thread_id="t")


@contextmanager
def opened_store(place: str, serde: Any, rng: random.Random) -> Iterator[list[Use]]:
    """Read, search, list, write."""
    user = ("users", f"u{rng.randrange(4)}")
    with store_at(place, serde) as store:
        yield [
            lambda: store.get(user, "card"),
            lambda: store.get(("users", "u1"), "brief"),
            lambda: store.search(("users",)),
            lambda: store.search(("users",), filter={"n": {"$gte": 1}}),
            lambda: store.search(("users",), query="banana"),
            lambda: store.list_namespaces(),
            lambda: remember_on(store).invoke(2, thread_id="t"),
            lambda: store.put(user, "card", {"text": "new"}),
            lambda: store.search((), limit=50),
            lambda: store.delete(user, "card"),
        ]


# A cache.


@task(cache_policy=CachePolicy())
def part(text: str, n: int) -> dict[str, Any]:
    return {"text": text * n, "n": n, "tags": {"a", "b"}, "pair": (1, 2.5)}


def sum_up(cache: SqliteCache, serde: Any) -> Any:
    """A workflow whose tasks are cached."""
    saver = InMemorySaver(serde=serde)
    return entrypoint(checkpointer=saver, cache=cache, name="sum")(lambda n: [part("x", i).result() for i in range(n)])


def fill_cache(place: str, serde: Any) -> None:
    """Some results."""
    with closing(SqliteCache(place)) as cache:
        sum_up(cache, serde).invoke(4, thread_id="t")
        cache.set("others", b"key", b"value", ttl=100)


@contextmanager
def opened_cache(place: str, serde: Any, rng: random.Random) -> Iterator[list[Use]]:
    """Find, write, evict, clear."""
    with closing(SqliteCache(place, max_bytes=4000)) as cache:
        flow = sum_up(cache, serde)
        yield [
            lambda: flow.invoke(4, thread_id="t"),
            lambda: cache.get("others", b"key"),
            lambda: flow.invoke(6, thread_id="u"),
            lambda: cache.set("others", rng.randbytes(8), b"x" * 2000),
            lambda: part.clear_cache(cache),
            lambda: cache.clear(),
        ]


STORE = ("durably_store", "durably_store_once")
INDEXED = (*STORE, "durably_store_vectors", "durably_store_changes")
