"""Whoever can write to the database cannot run code, and what they damage is refused with a clear error."""

from __future__ import annotations

import ast
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tampering import KEY, THREADS, Tamper, fill, program, typed, uses

import durably
from durably import CachePolicy, Command, InMemorySaver, entrypoint, task
from durably.cache.sqlite import SqliteCache
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import DecodeError, StorageError, TaskFailed
from durably.serde import EncryptedSerializer, TypedSerializer, encode_exception, rebuild_exception
from durably.serde.delta import compress, shrink
from durably.store.sqlite import SqliteStore
from savers import SHARED, open_saver, place_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGALRM")
TESTS = Path(__file__).parent.parent
Ext = msgspec.msgpack.Ext


@pytest.fixture(params=SHARED)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Somewhere empty on each kind of database."""
    return place_of(request.param, request, tmp_path)


@pytest.mark.parametrize(("form", "changes"), [("plain", 50), ("sealed", 30)])
def test_no_change_of_any_column_runs_code_or_surprises(place: str, form: str, changes: int) -> None:
    command = [sys.executable, "-m", "security.tampering", place, "7", str(changes), form]
    done = subprocess.run(command, capture_output=True, cwd=TESTS, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert report["surprises"] == []
    assert report["events"] == [], "no import, no code, no process, no connection, no file"
    assert report["changes"] > changes * 0.5 and report["refused"] > changes


@pytest.mark.parametrize(
    ("kind", "what", "form"),
    [("sqlite", what, form) for what in ("store", "cache") for form in ("plain", "sealed")]
    + [(kind, "store", "plain") for kind in SHARED if kind == "postgres"],
)
def test_nor_does_a_change_of_a_store_or_a_cache(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, what: str, form: str
) -> None:
    place = place_of(kind, request, tmp_path)
    command = [sys.executable, "-m", "security.tampering", place, "7", "60", form, what]
    done = subprocess.run(command, capture_output=True, cwd=TESTS, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert report["surprises"] == []
    assert report["events"] == [], "no import, no code, no process, no connection, no file"
    assert report["changes"] > 20 and report["done"] > 100 and report["refused"]


def test_a_cache_whose_total_somebody_has_changed_still_ends(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    for wrong in (2**62, "x", None):
        with closing(SqliteCache(path, max_bytes=1000)) as cache:
            cache.set("n", b"key", b"value")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("delete from durably_cache_total")
            if wrong is not None:
                connection.execute("insert into durably_cache_total values (?)", (wrong,))
        with closing(SqliteCache(path, max_bytes=1000)) as cache:
            cache.set("n", b"other", b"value")
            assert cache.get("n", b"other") in (b"value", None)
            cache.set("n", b"third", b"value")
            assert cache.get("n", b"third") == b"value"


def test_the_listener_hears_what_it_listens_for(tmp_path: Path) -> None:
    code = (
        "import sys; from security import tampering; sys.addaudithook(tampering.listen); tampering.armed = True\n"
        "import colorsys; exec('1'); open(sys.argv[1], 'w').close()\n"
        "tampering.armed = False; print(*{event.split()[0] for event in tampering.events})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, cwd=TESTS, check=True)
    assert {"import", "exec", "compile", "open"} <= set(done.stdout.decode().split())


# With encryption.


@pytest.mark.parametrize(
    ("table", "column", "read"),
    [
        ("durably_run", "saved", lambda shop: shop.get_state(thread_id="a")),
        ("durably_run", "saved", lambda shop: shop.invoke("x", thread_id="a")),
        ("durably_run", "input", lambda shop: shop.fork(thread_id="a")),
        ("durably_journal", "data", lambda shop: shop.runs("a")[0].calls()),
        ("durably_journal", "data", lambda shop: shop.fork(thread_id="a")),
    ],
)
def test_a_sealed_value_is_read_only_in_its_run(place: str, table: str, column: str, read: Any) -> None:
    with open_saver(place, serde=EncryptedSerializer(keys=KEY)) as saver:
        for order, thread_id in (("mine", "a"), ("theirs", "b")):
            program(saver).invoke(order, thread_id=thread_id)
    with closing(Tamper(place)) as tamper:
        columns, rows = tamper.tables[table]  # those of the first run before those of the second
        assert tamper.write(table, column, rows[0], rows[-1][columns.index(column)])
    with (
        open_saver(place, serde=EncryptedSerializer(keys=KEY)) as saver,
        pytest.raises(DecodeError, match="moved from"),
    ):
        read(program(saver))


def test_a_sealed_value_is_read_only_in_its_call() -> None:
    saver = InMemorySaver(serde=EncryptedSerializer(keys=KEY))
    program(saver).invoke("mine", thread_id="a")
    (run,) = program(saver).runs("a")
    first, second, *_ = run._records
    swapped = (msgspec.structs.replace(first, data=second.data), second)
    with pytest.raises(DecodeError, match="moved from another row"):
        replace(run, _records=swapped).calls()


def test_a_sealed_item_is_read_only_in_its_place(tmp_path: Path) -> None:
    serde = EncryptedSerializer(keys=KEY)
    with SqliteStore(tmp_path / "store.db", serde=serde) as store:
        store.put(("users", "ada"), "card", {"number": 1})
        store.put(("users", "eve"), "card", {"number": 2})
    swap_data(tmp_path / "store.db", "durably_store", "data")
    with SqliteStore(tmp_path / "store.db", serde=serde) as store, pytest.raises(DecodeError, match="moved from"):
        store.get(("users", "eve"), "card")


def test_a_sealed_cached_result_is_read_only_for_its_task(tmp_path: Path) -> None:
    @task(cache_policy=CachePolicy())
    def mine(n: int) -> str:
        return "mine"

    @task(cache_policy=CachePolicy())
    def theirs(n: int) -> str:
        return "theirs"

    def run(cache: SqliteCache) -> list[str]:
        @entrypoint(checkpointer=InMemorySaver(serde=EncryptedSerializer(keys=KEY)), cache=cache)
        def both(n: int) -> list[str]:
            return [mine(n).result(), theirs(n).result()]

        return both.invoke(1, thread_id="a")  # type: ignore[return-value]

    with closing(SqliteCache(tmp_path / "cache.db")) as cache:
        assert run(cache) == ["mine", "theirs"]
    swap_data(tmp_path / "cache.db", "durably_cache", "value")
    with closing(SqliteCache(tmp_path / "cache.db")) as cache, pytest.raises(DecodeError, match="moved from"):
        run(cache)


def swap_data(path: Path, table: str, column: str) -> None:
    """Give each of two rows the other's bytes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (first, one), (second, other) = connection.execute(f"select namespace, {column} from {table}").fetchall()
        for namespace, data in ((first, other), (second, one)):
            connection.execute(f"update {table} set {column} = ? where namespace = ?", (data, namespace))


# No pickle.


def test_no_module_of_the_library_imports_a_reader_of_objects() -> None:
    readers = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "copyreg", "yaml"}
    for path in Path(durably.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert readers.isdisjoint(name.partition(".")[0] for name in names), path


# Missing pieces.


def test_a_thread_whose_journal_lacks_a_piece_can_be_copied(place: str) -> None:
    with open_saver(place) as saver:
        shop = program(saver)
        shop.invoke("ask", thread_id="a")
        shop.invoke(Command(resume="yes"), thread_id="a")
        with closing(Tamper(place)) as tamper:
            columns, rows = tamper.tables["durably_journal"]
            assert len(rows) > 1 and tamper.write("durably_journal", columns[0], rows[0], rows[0][0] + 2**40)
        saver.copy_thread("a", "b")
        (run,) = shop.runs("b")
        assert [call.name for call in run.calls()] == [call.name for call in shop.runs("a")[0].calls()]


# Bombs.


def test_saved_values_that_are_differences_to_one_another_end(tmp_path: Path) -> None:
    place = str(tmp_path / "runs.db")
    with open_saver(place, serde=TypedSerializer()) as saver:
        fill(program(saver))
    with closing(Tamper(place)) as tamper:
        columns, rows = tamper.tables["durably_run"]
        chat = [row for row in rows if row[columns.index("saved_base")]][-1]
        for base in (chat[0], rows[0][0], rows[-1][0], 2**40):
            assert tamper.write("durably_run", "saved_base", chat, base)
            tamper.write("durably_run", "saved_base", rows[0], chat[0])
            with open_saver(place, serde=TypedSerializer()) as saver:
                for thread_id in THREADS:
                    for use in list(uses(program(saver), thread_id))[:3]:
                        try:
                            use()
                        except DecodeError:
                            pass
            tamper.restore()


def test_layers_of_compression_are_each_limited() -> None:
    serializer = TypedSerializer(max_bytes=1_000_000)
    bomb = serializer.dumps(b"")
    bomb = compress(msgspec.msgpack.encode(b"\x00" * 900_000))
    assert serializer.loads(bomb) == b"\x00" * 900_000
    with pytest.raises(DecodeError):
        serializer.loads(compress(msgspec.msgpack.encode(b"\x00" * 1_100_000)))
    data = b"\x00" * 4000
    for _ in range(5):
        data = shrink(data)
    with pytest.raises(DecodeError):
        serializer.loads(b"\xc1Z" + b"\x00" * 8 + data)


def test_numbers_of_any_size_are_read_and_none_is_written_out() -> None:
    serializer = TypedSerializer()
    huge = 1 << 4_000_000
    assert serializer.loads(serializer.dumps(huge)) == huge
    with pytest.raises(DecodeError) as caught:
        serializer.loads(typed([Ext(0x40, b"\x00"), huge.bit_length()], [[huge.bit_length(), [], 0]]))
    assert len(str(caught.value)) < 1_000


# Exceptions.


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_a_stored_failure_cannot_end_the_program(name: str) -> None:
    payload = typed([Ext(0x41, b""), f"builtins:{name}", [3], {}, None, None, False])
    rebuilt = rebuild_exception([f"builtins:{name}", "3", "", payload], "pay")
    assert isinstance(rebuilt, TaskFailed)
    assert type(rebuild_exception(encode_exception(KeyError("x")))) is KeyError


def test_a_stored_signal_of_the_engine_is_a_failure() -> None:
    payload = typed([Ext(0x41, b""), "durably.errors:GraphInterrupt", [[]], {}, None, None, False])
    assert isinstance(rebuild_exception(["durably.errors:GraphInterrupt", "", "", payload], "pay"), TaskFailed)


# The file.


def test_triggers_in_a_file_load_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    @task
    def work(n: int) -> int:
        return n

    def run(saver: SqliteSaver) -> Any:
        @entrypoint(checkpointer=saver)
        def job(n: int) -> int:
            return work(n).result()

        return job.invoke(1, thread_id="a")

    with SqliteSaver(path) as saver:
        run(saver)
    connection = sqlite3.connect(path)
    connection.execute(
        "create trigger t after insert on durably_journal begin select load_extension('/tmp/evil.so'); end"
    )
    connection.close()
    with SqliteSaver(path) as saver, pytest.raises(StorageError, match=r"load_extension|not authorized"):
        run(saver)


def test_wrongly_typed_columns_are_named(tmp_path: Path) -> None:
    place = str(tmp_path / "runs.db")
    with open_saver(place, serde=TypedSerializer()) as saver:
        program(saver).invoke("x", thread_id="a")
    with closing(Tamper(place)) as tamper:
        for table, column, value in (
            ("durably_thread", "fence", b"x"),
            ("durably_run", "attempt", "x"),
            ("durably_run", "head", "x"),
            ("durably_journal", "data", 5),
        ):
            tamper.write(table, column, tamper.tables[table][1][0], value)
            wrong = f"{table}.{column} holds a value of type {type(value).__name__}"
            with open_saver(place, serde=TypedSerializer()) as saver, pytest.raises(DecodeError, match=wrong):
                program(saver).runs("a")
            tamper.restore()
