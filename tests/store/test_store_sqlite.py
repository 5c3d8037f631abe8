from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durably.cache.sqlite import SqliteCache
from durably.errors import (
    ConfigError,
    DatabaseLocked,
    DecodeError,
    ForeignDatabase,
    NewerSchema,
    StorageError,
)
from durably.serde import TypedSerializer
from durably.store.base import GetOp, PutOp, SearchOp
from durably.store.sqlite import SqliteStore
from durably.store.sqlite.rows import SCHEMA

NS = ("users", "ada")

WRITER = """
import sys
from durably.store.base import GetOp, PutOp
from durably.store.sqlite import SqliteStore
path, worker = sys.argv[1:]
with SqliteStore(path, timeout=120) as store:
    for n in range(100):
        store.put(("w", worker), str(n), {"n": n, "worker": worker})
        store.batch([GetOp(("shared",), str(n)), PutOp(("shared",), str(n), {"n": n, "worker": worker})])
        if n % 10 == 0:
            assert store.get(("w", worker), str(n)).value["n"] == n
"""

EMBEDDING_WRITER = """
import sys
from durably.store.base import GetOp, PutOp
from durably.store.sqlite import SqliteStore
path, key, text = sys.argv[1:]
embed = lambda texts: [[float(t.count("a")), float(t.count("b"))] for t in texts]
with SqliteStore(path, index={"dims": 2, "embed": embed, "fields": ["text"]}) as store:
    if text:
        store.put(("n",), key, {"text": text})
    else:
        store.delete(("n",), key)
"""


def by_letters(texts: list[str]) -> list[list[float]]:
    return [[float(text.count("a")), float(text.count("b"))] for text in texts]


def run(script: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=True, timeout=120)


def test_items_outlive_the_store(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "s.db") as store:
        store.put(NS, "k", {"n": (1, 2)})
    with SqliteStore(str(tmp_path / "s.db")) as store:
        assert store.get(NS, "k").value == {"n": (1, 2)}  # type: ignore[union-attr]


def test_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(n)]) for n in range(4)]

    assert [process.wait(300) for process in processes] == [0, 0, 0, 0]
    with SqliteStore(path) as store:
        for worker in range(4):
            assert {item.value["n"] for item in store.search(("w", str(worker)), limit=1000)} == set(range(100))
        assert {item.key for item in store.search(("shared",), limit=1000)} == {str(n) for n in range(100)}


def test_once_holds_across_processes(tmp_path: Path) -> None:
    script = """
import sys
from durably.store.base import PutOp
from durably.store.sqlite import SqliteStore
with SqliteStore(sys.argv[1], timeout=120) as store:
    for n in range(30):
        store.batch([PutOp(("n",), str(n), {"by": sys.argv[2]}, None, None, f"call{n}")])
        store.put(("seen", sys.argv[2]), str(n), {"by": store.get(("n",), str(n)).value["by"]})
"""
    path = tmp_path / "s.db"
    processes = [subprocess.Popen([sys.executable, "-c", script, str(path), str(n)]) for n in range(3)]

    assert [process.wait(300) for process in processes] == [0, 0, 0]
    with SqliteStore(path) as store:
        winners = {item.key: item.value["by"] for item in store.search(("n",), limit=100)}
        for worker in range(3):
            seen = store.search(("seen", str(worker)), limit=100)
            assert {item.key: item.value["by"] for item in seen} == winners


def test_vectors_written_by_other_processes_are_found(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with SqliteStore(path, index={"dims": 2, "embed": by_letters, "fields": ["text"]}) as store:
        store.put(("n",), "mine", {"text": "ab"})
        assert [item.key for item in store.search(("n",), query="a")] == ["mine"]
        run(EMBEDDING_WRITER, path, "theirs", "a")
        assert [item.key for item in store.search(("n",), query="a")] == ["theirs", "mine"]
        run(EMBEDDING_WRITER, path, "mine", "b")
        assert [(i.key, i.score) for i in store.search(("n",), query="a")] == [("theirs", 1.0), ("mine", 0.0)]
        run(EMBEDDING_WRITER, path, "theirs", "")
        assert [item.key for item in store.search(("n",), query="a")] == ["mine"]


def test_a_batch_that_fails_leaves_neither_rows_nor_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index: Any = {"dims": 2, "embed": by_letters, "fields": ["text"]}
    with SqliteStore(tmp_path / "s.db", index=index) as store:
        store.put(("n",), "kept", {"text": "ab"})
        store.put(("broken",), "k", {"text": "b"})
        with closing(sqlite3.connect(tmp_path / "s.db")) as other, other:
            other.execute("UPDATE durably_store SET data = x'c1' WHERE namespace = 'broken'")
        with pytest.raises(DecodeError):
            store.batch(
                [
                    PutOp(("n",), "undone", {"text": "a"}, None, None, "call"),
                    SearchOp(("n",), query="a"),
                    GetOp(("broken",), "k"),
                ]
            )
        assert store.get(("n",), "undone") is None
        assert [item.key for item in store.search(("n",), query="a")] == ["kept"]
        store.batch([PutOp(("n",), "again", {"text": "b"}, None, None, "call")])
        assert [item.key for item in store.search(("n",), query="a")] == ["kept", "again"]


def test_vectors_of_another_length_are_explained(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "s.db", index={"dims": 2, "embed": by_letters, "fields": ["t"]}) as store:
        store.put(("n",), "k", {"t": "a"})
    other: Any = {"dims": 3, "embed": lambda texts: [[1.0, 2.0, 3.0] for _ in texts], "fields": ["t"]}
    with SqliteStore(tmp_path / "s.db", index=other) as store:
        with pytest.raises(ConfigError, match="another length"):
            store.search(("n",), query="a")
        store.put(("n",), "k", {"t": "a"})
        assert [item.key for item in store.search(("n",), query="a")] == ["k"]


def test_filters_never_reach_the_database(tmp_path: Path) -> None:
    """Rows are compared in this process, so no text of a filter can become SQL."""
    heard: list[str] = []
    with closing(sqlite3.connect(tmp_path / "s.db", check_same_thread=False)) as connection:
        store = SqliteStore(connection)
        store.put(NS, "k", {"a": 1})
        connection.set_trace_callback(heard.append)
        store.search(NS, filter={"needle'": {"$in": ["needle'"]}})
        connection.set_trace_callback(None)
        store.close()
    assert heard
    assert not any("needle" in text for text in heard)


def test_a_store_of_the_first_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("CREATE TABLE durably_parts (part TEXT PRIMARY KEY, version INTEGER NOT NULL)")
        old.execute("INSERT INTO durably_parts VALUES ('store', 1)")
        for statement in SCHEMA.migrations[0]:
            old.execute(statement)
        old.execute("INSERT INTO durably_store_once VALUES (?, 1.0)", ("\x1f".join(["run/call", "n", "k"]),))
    with SqliteStore(path) as store:
        store.batch([PutOp(("n",), "k", {}, once_key="run/call"), PutOp(("n",), "k2", {}, once_key="run/call")])
        assert [item.key for item in store.search(("n",))] == ["k2"]


@pytest.mark.parametrize(
    ("after", "way"), [(0, "USING INDEX durably_store_vectors_namespace"), (7, "USING INTEGER PRIMARY KEY")]
)
def test_vectors_under_a_prefix_are_read_without_reading_all(tmp_path: Path, after: int, way: str) -> None:
    """All that a prefix has are found by its name, and what is new by its place at the end of the table."""
    heard: list[str] = []
    with closing(sqlite3.connect(tmp_path / "s.db", check_same_thread=False)) as connection:
        store = SqliteStore(connection)
        with store._rows(writing=False) as rows:
            connection.set_trace_callback(heard.append)
            rows.vectors(("users", "ada"), after)
            connection.set_trace_callback(None)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {heard[-1]}")]
        store.close()
    assert way in plan[0]


def test_store_and_cache_share_a_file(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "s.db") as store, closing(SqliteCache(tmp_path / "s.db")) as cache:
        store.put(NS, "k", {"n": 1})
        cache.set("a", b"k", b"v")
        assert store.get(NS, "k") is not None
        assert cache.get("a", b"k") == b"v"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "s.db") as store:
        store.put(NS, "k", {"n": 1})
        inherited = store._database._connection
        child = os.fork()
        if child == 0:
            store.put(NS, "k", {"n": store.get(NS, "k").value["n"] + 1})  # type: ignore[union-attr]
            os._exit(7 if store._database._connection is inherited else 0)
        assert os.waitpid(child, 0)[1] == 0
        assert store.get(NS, "k").value == {"n": 2}  # type: ignore[union-attr]
        store.put(NS, "k", {"n": 3})


def test_files_that_are_no_stores_are_refused(tmp_path: Path) -> None:
    corrupt, foreign, newer = (tmp_path / name for name in ("corrupt.db", "foreign.db", "newer.db"))
    corrupt.write_bytes(b"no database " * 1000)
    with closing(sqlite3.connect(foreign)) as other:
        other.execute("CREATE TABLE customers (id INTEGER)")
    SqliteStore(newer).close()
    with closing(sqlite3.connect(newer)) as other, other:
        other.execute("UPDATE durably_parts SET version = 99 WHERE part = 'store'")

    with pytest.raises(ForeignDatabase, match="corrupt"):
        SqliteStore(corrupt)
    with pytest.raises(ForeignDatabase, match="customers"):
        SqliteStore(foreign)
    with pytest.raises(NewerSchema, match="99"):
        SqliteStore(newer)
    with pytest.raises(StorageError, match="folder"):
        SqliteStore(tmp_path / "no" / "s.db")


def test_a_page_that_rots_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with SqliteStore(path) as store:
        store.batch([PutOp(NS, str(n), {"text": "x" * 500}) for n in range(300)])
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = b"\xff" * (len(content) - 4096 * 3)
    path.write_bytes(content)

    with pytest.raises(ForeignDatabase, match="corrupt"), SqliteStore(path) as store:
        store.search(NS, limit=1000)


def test_a_lock_held_too_long_is_reported_and_reading_goes_on(tmp_path: Path) -> None:
    with (
        SqliteStore(tmp_path / "s.db", timeout=0.05) as store,
        closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as other,
    ):
        store.put(NS, "k", {"n": 1})
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLocked):
            store.put(NS, "k", {"n": 2})
        assert store.get(NS, "k").value == {"n": 1}  # type: ignore[union-attr]
        other.execute("ROLLBACK")
        store.put(NS, "k", {"n": 3})


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.get(NS, "k")


class Reversing(TypedSerializer):
    """Stands for encryption: the bytes are not readable, and belong to one place."""

    def dumps(self, value: object, place: bytes = b"") -> bytes:
        return place[::-1] + b"|" + super().dumps(value)[::-1]

    def loads(self, data: bytes, place: bytes = b"") -> Any:
        owner, _, body = data.partition(b"|")
        if owner != place[::-1]:
            raise DecodeError("these bytes belong elsewhere")
        return super().loads(body[::-1])


def test_a_given_serializer_sees_every_value_and_its_place(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "s.db", serde=Reversing()) as store:
        store.put(NS, "k", {"secret": "plaintext"})
        store.put(NS, "other", {"secret": "another"})
        assert [item.key for item in store.search(NS, filter={"secret": "plaintext"})] == ["k"]
    for file in tmp_path.iterdir():
        assert b"plaintext" not in file.read_bytes()
    with closing(sqlite3.connect(tmp_path / "s.db")) as other, other:
        other.execute(
            "UPDATE durably_store SET data = (SELECT data FROM durably_store WHERE key = 'k') WHERE key = 'other'"
        )
    with SqliteStore(tmp_path / "s.db", serde=Reversing()) as store:
        with pytest.raises(DecodeError):
            store.get(NS, "other")
        assert store.get(NS, "k") is not None
