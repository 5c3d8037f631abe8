"""The layer under everything that is kept in PostgreSQL: connections, migrations, errors."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest

from durably._postgres import Database, Options
from durably._schema import Schema
from durably.errors import (
    ConfigError,
    DatabaseLocked,
    DatabaseUnavailable,
    DurablyError,
    NewerSchema,
    StorageError,
)
from postgres_server import Place, Server

NOTES = Schema("notes", (("create table {schema}.durably_note (no int primary key, text text)",),))
MORE = Schema("notes", (*NOTES.migrations, ("alter table {schema}.durably_note add at timestamptz",)))
INSERT = "insert into {schema}.durably_note values (%s, %s)"
SELECT = "select text from {schema}.durably_note order by no"


@pytest.fixture
def database(postgres: Place) -> Iterator[Database]:
    database = Database(postgres.conninfo, NOTES, Options(postgres.schema))
    database.setup()
    yield database
    database.close()


# ---------------------------------------------------------------------------------------------- where from


@pytest.fixture(params=["string", "connection", "pool", "async connection", "async pool"])
def source(request: pytest.FixtureRequest, postgres: Place) -> Iterator[Any]:
    """Whatever people have at hand."""
    info = postgres.conninfo
    if request.param == "string":
        yield info
    elif request.param == "connection":
        with psycopg.connect(info, row_factory=psycopg.rows.dict_row) as connection:
            yield connection
    elif request.param == "pool":
        with psycopg_pool.ConnectionPool(info, kwargs={"row_factory": psycopg.rows.dict_row}) as pool:
            yield pool
    elif request.param == "async pool":
        yield psycopg_pool.AsyncConnectionPool(info, open=False, kwargs={"application_name": "mine"})
    else:
        loop = asyncio.new_event_loop()
        connection = loop.run_until_complete(psycopg.AsyncConnection.connect(info))
        yield connection
        loop.run_until_complete(connection.close())
        loop.close()


@pytest.mark.parametrize("pgbouncer", [False, True])
def test_a_database_is_reached_by_whatever_people_have(source: Any, postgres: Place, pgbouncer: bool) -> None:
    database = Database(source, NOTES, Options(postgres.schema, pgbouncer=pgbouncer))
    database.setup()
    assert database.run(INSERT, (1, "one")) == 1
    assert database.rows(SELECT) == [("one",)]
    database.close()


def test_a_pool_gets_its_connections_back_as_they_were(postgres: Place) -> None:
    with psycopg_pool.ConnectionPool(postgres.conninfo, min_size=1, max_size=1) as pool:
        Database(pool, NOTES, Options(postgres.schema)).setup()
        with pool.connection() as connection:
            assert not connection.autocommit


def test_an_async_pool_gives_its_parameters(postgres: Place) -> None:
    pool = psycopg_pool.AsyncConnectionPool(postgres.conninfo, open=False, kwargs={"application_name": "mine"})
    database = Database(pool, NOTES, Options(postgres.schema))
    database.setup()
    assert database.rows("show application_name") == [("mine",)]
    database.close()


def test_other_things_are_refused(postgres: Place) -> None:
    with pytest.raises(ConfigError, match="give a connection string"):
        Database(7, NOTES, Options())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot be read"):
        Database("this is not = one", NOTES, Options()).open()
    connection = psycopg.connect(postgres.conninfo)
    connection.execute("select 1")
    with pytest.raises(ConfigError, match="in the middle of a transaction"):
        Database(connection, NOTES, Options())
    connection.close()


@pytest.mark.parametrize("name", ["", "x" * 64, "ä" * 32, "a\0b", "100%"])
def test_names_that_no_schema_can_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="schema="):
        Options(name)


@pytest.mark.parametrize("name", ['a"; drop table x; --', "Ünï cödé", "{schema}", "select", "a.b", "'"])
def test_any_other_name_is_only_a_name(name: str, postgres: Place) -> None:
    database = Database(postgres.conninfo, NOTES, Options(name + postgres.schema[-6:]))
    database.setup()
    database.run(INSERT, (1, "one"))
    again = Database(postgres.conninfo, NOTES, Options(name + postgres.schema[-6:]))
    assert again.rows(SELECT) == [("one",)]
    database.close()
    again.close()


def test_connections_are_used_again_and_not_more_than_needed(database: Database) -> None:
    def backend() -> Any:
        return database.rows("select pg_backend_pid()")

    assert backend() == backend()
    with database.connection() as first:
        assert backend() != [(first.info.backend_pid,)]


def test_a_closed_one_is_closed(database: Database) -> None:
    database.close()
    with pytest.raises(StorageError, match="has been closed"):
        database.rows(SELECT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_uses_no_connection_of_its_parent(postgres: Place) -> None:
    program = f"""
import os
from durably._postgres import Database, Options
from durably._schema import Schema
database = Database({postgres.conninfo!r}, Schema("none", (("select 1",),)), Options({postgres.schema!r}))
database.setup()
mine = database.rows("select pg_backend_pid()")
child = os.fork()
if not child:
    os._exit(0 if database.rows("select pg_backend_pid()") != mine else 1)
assert os.waitpid(child, 0)[1] == 0
assert database.rows("select pg_backend_pid()") == mine
database.close()
"""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", program], check=True)


# ---------------------------------------------------------------------------------------------- its tables


def test_without_setup_the_error_says_what_to_do(postgres: Place) -> None:
    database = Database(postgres.conninfo, NOTES, Options(postgres.schema))
    with pytest.raises(StorageError, match=r"are not there: call setup\(\) once"):
        database.rows(SELECT)
    database.setup()
    assert database.rows(SELECT) == []
    newer = Database(postgres.conninfo, MORE, Options(postgres.schema))
    with pytest.raises(StorageError, match="format 1, and this version needs 2: call setup"):
        newer.rows(SELECT)
    newer.setup()
    assert newer.rows("select at from {schema}.durably_note") == []
    older = Database(postgres.conninfo, NOTES, Options(postgres.schema))
    for use in (older.setup, lambda: older.rows(SELECT)):
        with pytest.raises(NewerSchema, match="reads up to 1"):
            use()
    for one in (database, newer, older):
        one.close()


def test_many_may_set_up_at_once(postgres: Place) -> None:
    failures: list[BaseException] = []

    def setup() -> None:
        database = Database(postgres.conninfo, MORE, Options(postgres.schema))
        try:
            database.setup()
        except BaseException as error:
            failures.append(error)
        database.close()

    threads = [threading.Thread(target=setup) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("after", [0, 1])
def test_what_setup_does_can_be_done_by_hand(postgres: Place, after: int) -> None:
    if after:
        old = Database(postgres.conninfo, NOTES, Options(postgres.schema))
        old.setup()
        old.close()
    database = Database(postgres.conninfo, MORE, Options(postgres.schema))
    script = database.migrations.script(after)
    assert "-- version 2" in script
    assert ("-- version 1" in script) == (not after)
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(script.encode())
    assert database.rows(SELECT) == []
    database.setup()
    database.close()


def test_a_role_without_rights_is_told_which_it_lacks(database: Database, postgres: Place) -> None:
    role = f"role_{postgres.schema}"
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"create role {role} login".encode())
        connection.execute(f"grant usage on schema {postgres.schema} to {role}".encode())
        connection.execute(f"grant select on {postgres.schema}.durably_parts to {role}".encode())
    limited = Database(f"{postgres.conninfo} user={role}", NOTES, Options(postgres.schema))
    with pytest.raises(StorageError, match="its role needs select"):
        limited.rows(SELECT)
    limited.close()


# ---------------------------------------------------------------------------------------- what may go wrong


def test_a_block_takes_effect_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction() as execute:
        execute(INSERT, (1, "one"))
        1 / 0
    assert database.rows(SELECT) == []
    with pytest.raises(StorageError, match="duplicate key"), database.transaction() as execute:
        execute(INSERT, (1, "one"))
        execute(INSERT, (1, "two"))
    assert database.rows(SELECT) == []
    with database.transaction() as execute:
        execute(INSERT, (1, "one"))
    assert database.rows(SELECT) == [("one",)]


def test_a_lost_connection_is_not_used_again(database: Database, postgres: Place) -> None:
    with database.connection() as one, database.connection() as two:
        lost = {one.info.backend_pid, two.info.backend_pid}
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from unnest(%s::int[]) pid", (list(lost),))
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        database.rows(SELECT)
    ((backend,),) = database.rows("select pg_backend_pid()")  # and neither is the other one, which died with it
    assert backend not in lost


def test_a_server_that_is_away_says_so_and_is_found_when_it_is_back(tmp_path: Path) -> None:
    with Server() as server:
        database = Database(server.conninfo, NOTES, Options())
        database.setup()
        server.stop()
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                database.run(INSERT, (1, "one"))
        server.start()
        assert database.run(INSERT, (1, "one")) == 1
        database.close()
        folder = server.folder
    assert not folder.exists()


def test_waiting_for_one_another_is_being_busy(database: Database) -> None:
    database.run(INSERT, (1, "one"))
    repeatable = "begin isolation level repeatable read"
    with pytest.raises(DatabaseLocked, match="could not serialize"), database.transaction(repeatable) as execute:
        execute(SELECT)
        database.run("update {schema}.durably_note set text = 'two'")
        execute("update {schema}.durably_note set text = 'three'")
    assert issubclass(DatabaseUnavailable, DurablyError)


def test_a_server_ends_with_the_process_that_wanted_it() -> None:
    program = "import os, sys; from postgres_server import Server; print(Server().folder, flush=True); os._exit(1)"
    tests = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=tests, capture_output=True, text=True)
    folder = Path(done.stdout.strip())
    for _ in range(1000):
        if not folder.exists():
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{folder} is still there")


def test_a_connection_goes_back_although_its_rollback_is_interrupted(
    postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(connection: psycopg.Connection[Any]) -> None:
        raise KeyboardInterrupt

    with psycopg.connect(postgres.conninfo, autocommit=True) as given:
        database = Database(given, NOTES, Options(postgres.schema))
        database.setup()
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt), database.connection():
            patched.setattr("durably._postgres.database.roll_back", interrupted)
            raise ValueError
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(database.rows("select 1")), daemon=True)
        thread.start()
        thread.join(10)
        assert found == [[(1,)]], "the next one waits for it"
