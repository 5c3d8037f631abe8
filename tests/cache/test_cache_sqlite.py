from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import durably.cache.sqlite
from durably.cache.sqlite import SqliteCache
from durably.errors import ConfigError, DatabaseLocked, ForeignDatabase, NewerSchema, StorageError

WRITER = """
import sys
from durably.cache.sqlite import SqliteCache
cache = SqliteCache(sys.argv[1], timeout=60)
for n in range(200):
    cache.set("w" + sys.argv[2], b"%d" % n, b"%d" % n)
cache.close()
"""


def test_values_outlive_the_cache(tmp_path: Path) -> None:
    with closing(SqliteCache(tmp_path / "c.db")) as cache:
        cache.set("a", b"k", b"v", ttl=1000)
    with closing(SqliteCache(path=str(tmp_path / "c.db"))) as cache:
        assert cache.get("a", b"k") == b"v"


def test_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "c.db")
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(n)]) for n in range(4)]

    assert [process.wait(120) for process in processes] == [0, 0, 0, 0]
    with closing(SqliteCache(path)) as cache:
        for writer in range(4):
            assert all(cache.get(f"w{writer}", b"%d" % n) == b"%d" % n for n in range(200))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(tmp_path: Path) -> None:
    with closing(SqliteCache(tmp_path / "c.db")) as cache:
        cache.set("a", b"k", b"parent")
        child = os.fork()
        if child == 0:
            cache.set("a", b"k", cache.get("a", b"k") + b"+child")  # type: ignore[operator]
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert cache.get("a", b"k") == b"parent+child"
        cache.set("a", b"k", b"after")
        assert cache.get("a", b"k") == b"after"


def test_expired_rows_are_swept(tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durably.cache.sqlite, "DELETE_ROWS", 5)
    with closing(SqliteCache(tmp_path / "c.db", clock=clock)) as cache:
        for n in range(12):
            cache.set("a", b"%d" % n, b"v", ttl=10)
        cache.set("a", b"stays", b"v")
        clock.now += 61
        for n in range(3):
            cache.set("b", b"%d" % n, b"v")
        with closing(sqlite3.connect(tmp_path / "c.db")) as reader:
            rows = reader.execute("SELECT namespace, count(*) FROM durably_cache GROUP BY 1").fetchall()
    assert dict(rows) == {"a": 1, "b": 3}


def names(path: Path) -> set[int]:
    """The keys in the database, read past the cache."""
    with closing(sqlite3.connect(path)) as reader:
        return {int(key) for (key,) in reader.execute("SELECT key FROM durably_cache")}


def total(path: Path) -> tuple[int, int]:
    """The size that is kept of all values, and the one that they have."""
    added = "SELECT coalesce(sum(length(namespace) + length(key) + length(value)), 0) FROM durably_cache"
    with closing(sqlite3.connect(path)) as reader:
        return reader.execute("SELECT bytes FROM durably_cache_total").fetchone()[0], reader.execute(added).fetchone()[
            0
        ]


def test_the_least_recently_used_make_room(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "c.db"
    with closing(SqliteCache(path, max_bytes=10_000, clock=clock)) as cache:
        for n in range(9):
            cache.set("a", b"%d" % n, b"x" * 1000)
            clock.now += 100
        assert cache.get("a", b"0") is not None
        assert cache.get("a", b"3") is not None
        for n in range(10, 14):
            cache.set("a", b"%d" % n, b"x" * 1000)
            clock.now += 100
        assert names(path) == {0, 3, 6, 7, 8, 10, 11, 12, 13}
        for n in range(20, 80):
            cache.set("a", b"%d" % n, b"x" * (n * 7 % 3000))
            kept, real = total(path)
            assert kept == real <= 10_000
        assert names(path) >= {79, 78}


def test_room_is_made_by_more_than_one_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durably.cache.sqlite, "DELETE_ROWS", 5)
    path = tmp_path / "c.db"
    with closing(SqliteCache(path)) as cache:
        for n in range(100):
            cache.set("a", b"%d" % n, b"x" * 100)
    with closing(SqliteCache(path, max_bytes=1_000)) as cache:
        cache.set("a", b"100", b"x" * 900)
    assert names(path) == {100}


def test_a_value_larger_than_the_whole_cache_is_not_kept_and_evicts_nothing(tmp_path: Path) -> None:
    with closing(SqliteCache(tmp_path / "c.db", max_bytes=10_000)) as cache:
        cache.set("a", b"1", b"small")
        cache.set("a", b"2", b"replaced")
        cache.set("a", b"2", b"x" * 10_000)
        assert cache.get("a", b"1") == b"small"
        assert cache.get("a", b"2") is None


def test_sizes_stay_true_whatever_happens(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "c.db"
    with closing(SqliteCache(path, clock=clock)) as cache:
        for n in range(30):
            cache.set("ab"[n % 2], b"%d" % (n % 20), b"x" * n, ttl=10 if n % 3 else None)
        assert total(path) == (total(path)[1],) * 2
        clock.now += 100
        cache.set("c", b"1", b"x")
        cache.clear("a")
        assert total(path) == (total(path)[1],) * 2
        cache.clear()
    assert total(path) == (0, 0)


def test_a_database_of_the_first_version_is_read_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    schema = durably.cache.sqlite.SCHEMA
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("CREATE TABLE durably_parts (part TEXT PRIMARY KEY, version INTEGER NOT NULL)")
        old.execute("INSERT INTO durably_parts VALUES ('cache', 1)")
        for statement in schema.migrations[0]:
            old.execute(statement)
        row = "INSERT INTO durably_cache (namespace, key, value) VALUES ('a', ?, ?)"
        old.executemany(row, [(b"%d" % n, b"x" * 1000) for n in range(5)])
    with closing(SqliteCache(path, max_bytes=3_500)) as cache:
        assert cache.get("a", b"4") == b"x" * 1000
        assert total(path) == (5 * 1002, 5 * 1002)
        cache.set("a", b"5", b"x" * 1000)
        assert names(path) >= {4, 5}
        assert len(names(path)) == 3


@pytest.mark.parametrize("bound", [0, -1, 1.5, True, None])
def test_the_bound_is_checked(bound: Any) -> None:
    with pytest.raises(ConfigError, match="max_bytes"):
        SqliteCache(":memory:", max_bytes=bound)


def test_a_corrupt_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(b"this is not a database, and long enough to be looked at " * 100)

    with pytest.raises(ForeignDatabase, match=r"c\.db"):
        SqliteCache(path)
    assert path.read_bytes().startswith(b"this is not")


def test_another_programs_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE customers (id INTEGER)")

    with pytest.raises(ForeignDatabase, match="customers"):
        SqliteCache(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]


def test_a_given_connection_may_belong_to_another_program(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db", check_same_thread=False)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("CREATE TABLE customers (id INTEGER)")
        cache = SqliteCache(connection)
        cache.set("a", b"k", b"v")
        assert cache.get("a", b"k") == b"v"
        cache.close()
        assert connection.execute("SELECT count(*) FROM customers").fetchone()[0] == 0
    with closing(SqliteCache(tmp_path / "app.db")) as cache:
        assert cache.get("a", b"k") == b"v"


def test_a_connection_bound_to_one_thread_gets_advice() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with closing(sqlite3.connect(":memory:")) as connection:
        cache = SqliteCache(connection)
        with (
            ThreadPoolExecutor(1) as pool,
            pytest.raises(ConfigError, match="check_same_thread=False"),
        ):
            pool.submit(cache.get, "a", b"k").result()
        cache.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    SqliteCache(tmp_path / "c.db").close()
    with closing(sqlite3.connect(tmp_path / "c.db")) as other, other:
        other.execute("UPDATE durably_parts SET version = 99 WHERE part = 'cache'")

    with pytest.raises(NewerSchema, match="99"):
        SqliteCache(tmp_path / "c.db")


def test_a_lock_held_too_long_is_reported(tmp_path: Path) -> None:
    with (
        closing(SqliteCache(tmp_path / "c.db", timeout=0.05)) as cache,
        closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLocked, match=r"0\.05 s"):
            cache.set("a", b"k", b"v")
        assert cache.get("a", b"k") is None, "reading goes on while another writes"
        other.execute("ROLLBACK")
        cache.set("a", b"k", b"v")
        assert cache.get("a", b"k") == b"v"


def test_a_closed_cache_says_so(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "c.db")
    cache.close()
    cache.close()

    with pytest.raises(StorageError, match="closed"):
        cache.get("a", b"k")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        SqliteCache(tmp_path / "nowhere" / "c.db")


def test_a_source_of_another_type_is_refused() -> None:
    with pytest.raises(ConfigError, match=":memory:"):
        SqliteCache(3)  # type: ignore[arg-type]
