"""Every statement of a checkpointer finds its rows by an index, so that it costs the same however many threads there are.

What is looked at are the statements that a script of all operations really sends, and the script is not through before it has
sent every statement of the backend. Tables with a row for each process, not for each thread, may be read from end to end.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import psycopg
import pytest
from msgspec.structs import replace

from durably._postgres.blobs import teach
from durably.checkpoint.base import (
    BaseCheckpointer,
    Chunk,
    OwnerRow,
    RunRow,
    Status,
    ThreadQuery,
    ThreadRow,
    Transaction,
)
from durably.checkpoint.postgres import PostgresSaver, lending, reading, writing
from durably.checkpoint.postgres.forms import Form
from durably.checkpoint.postgres.writers import Writer
from durably.checkpoint.sqlite import SqliteSaver
from durably.checkpoint.sqlite import backend as sqlite_backend
from durably.errors import DurablyError
from postgres_server import Place

THREADS = 10_000
OF_PROCESSES = {"durably_owner", "durably_commit", "durably_lent", "durably_parts"}
FEW = {"durably_thread_held"}
"""The index of the threads that are held at this moment. Reading it from end to end is no scan of a table."""
SQL = re.compile(r"\s*(select|with|insert|update|delete)\b", re.IGNORECASE)

Sent = dict[str, Any]
"""Statements, each with the parameters that it was first sent with."""


class Noting:
    """A transaction that notes which of its operations are used."""

    def __init__(self, transaction: Transaction, used: set[str]) -> None:
        self._transaction = transaction
        self._used = used

    def __getattr__(self, name: str) -> Any:
        self._used.add(name)
        return getattr(self._transaction, name)


def use_everything(saver: BaseCheckpointer) -> None:
    """Do each operation of a `Transaction` on a filled database, and what has statements of its own."""
    used: set[str] = set()

    def do(work: Callable[[Any], Any], *, durable: bool = False) -> Any:
        (result,) = saver.transact([lambda transaction: work(Noting(transaction, used))], durable=durable)
        if isinstance(result, DurablyError):
            raise result
        return result

    thread: ThreadRow = do(lambda tx: tx.thread(5))
    run: RunRow = do(lambda tx: tx.run(5))
    chunk = Chunk(5, thread.fence, 5, b"chunk")
    for status in ("", *get_args(Status)):
        query = ThreadQuery("w1", status)
        do(lambda tx, query=query: tx.threads(query, 1 << 40, 10))
    looks: list[Callable[[Any], Any]] = [
        lambda tx: tx.open("t5"),
        lambda tx: tx.find_run("r5"),
        lambda tx: tx.find_key(5, "k"),
        lambda tx: tx.runs(5, 1 << 40, 10),
        lambda tx: tx.due(["w1"], 2e9, 10),
        lambda tx: tx.waiting(5, 0),
        lambda tx: tx.holders(),
        lambda tx: tx.held("p1"),
        lambda tx: tx.thread_nos(100, 10),
        lambda tx: tx.records(5),
        lambda tx: tx.records(5, 1),
        lambda tx: tx.owner("p1"),
        lambda tx: tx.saved_bases(7),
    ]
    for look in looks:
        do(look)
    saver.read(lambda tx: tx.open("t6"))

    def start(tx: Any, name: str = "new") -> None:
        new = tx.put_thread(ThreadRow(0, name, fence=1))
        first = tx.put_run(RunRow(0, "r" + name, new.no, "w", "running", 1, 1.0, 1.0, "", b"", b""))
        tx.append(Chunk(new.no, 1, first.no, b"chunk"))

    def go_on(tx: Any, no: int) -> None:
        tx.records(no)
        tx.put_thread(tx.thread(no))
        tx.put_run(tx.run(no))

    do(start, durable=True)
    do(lambda tx: go_on(tx, 5))
    do(lambda tx: tx.put_run(run))
    for several in (  # what is done for several threads at once has statements of its own
        lambda tx, no: tx.open(f"t{no}"),
        lambda tx, no: start(tx, f"new {no}"),
        go_on,
        lambda tx, no: tx.put_run(tx.run(no)),
        lambda tx, no: tx.put_owner(OwnerRow(f"p{no}", "host", 2e9)),
    ):
        results = saver.transact([partial(several, no=no) for no in (5, 6)])
        assert not any(isinstance(result, DurablyError) for result in results)
    do(lambda tx: tx.put_run(replace(run, due=1.0)))
    do(lambda tx: tx.save(7, b"saved", 0))
    do(lambda tx: tx.put_owner(OwnerRow("p2", "host", 2e9)))
    do(lambda tx: tx.delete_owners(1.0))
    do(lambda tx: (tx.delete_runs([8]), tx.delete_thread(8)))
    assert all(saver.append([chunk]) + saver.append([chunk, chunk], durable=True))
    assert saver.prune("t9", keep_last=0) == 1
    assert saver.delete_thread("t10")
    operations = {name for name in vars(Transaction) if not name.startswith("_")}
    assert used == operations, "the script has to do each operation"


def texts_of(value: Any) -> Iterable[Any]:
    """What a constant has that may be a statement."""
    if isinstance(value, Form):
        return [value.one, value.several]
    return value.values() if isinstance(value, dict) else [value]


def unsent(modules: list[ModuleType], sent: Sent, fill_in: Callable[[str], str]) -> list[str]:
    """The statements, or parts of statements, of a backend that were never sent."""
    seen = "\0".join(sent)
    found = []
    for module in modules:
        constants = {name: value for name, value in vars(module).items() if name.isupper()}
        for name, value in constants.items():
            for text in texts_of(value):
                is_template = isinstance(text, str) and ("FILTER" in text or "from {} on" in text)
                if isinstance(text, str) and SQL.match(text) and not is_template and fill_in(text) not in seen:
                    found.append(f"{module.__name__}.{name}")
    return found


# --------------------------------------------------------------------------------------------------- SQLite


def recording(sent: Sent) -> type[sqlite3.Connection]:
    """A class of connections that note what is sent."""

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, bound: Any = (), /) -> sqlite3.Cursor:
            sent.setdefault(sql, tuple(bound))
            return super().execute(sql, bound)

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = None) -> Any:
            return super().cursor(factory or Cursor)

    return Connection


FILL_SQLITE = [
    """with recursive n (n) as (select 1 union all select n + 1 from n where n < :threads)
    insert into durably_thread (no, thread_id, fence, run_no, head_no, owner, since)
    select n, 't' || n, 1, n, n, case when n % 100 = 0 then 'p' || (n % 7) else '' end, 0.0 from n""",
    """with recursive n (n) as (select 1 union all select n + 1 from n where n < :runs)
    insert into durably_run (no, run_id, thread_no, workflow, status, attempt, created_at, updated_at, parent, head, input,
        outcome, base_no, key, saved_no, saved_base, due)
    select n, 'r' || n, 1 + (n - 1) % :threads, 'w' || (n % 40),
        case n % 100 when 0 then 'running' when 1 then 'asked' when 2 then 'failed' when 3 then 'pending' else 'done' end,
        1, n, n, '', x'', x'', x'', 0, case when n % 50 = 0 then 'k' || n else '' end, 0, case when n = 7 then 4 else 0 end,
        case when n % 100 = 3 then n end from n""",
    f"insert into durably_journal select no * {sqlite_backend.CHUNKS_A_RUN} + 1, x'00' from durably_run",
]


@pytest.fixture(scope="module", params=["as it is", "analyzed"])
def sqlite_plans(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Each statement's plan, in lines."""
    sent: Sent = {}
    path = tmp_path_factory.mktemp("plans") / "runs.db"
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, factory=recording(sent))
    with SqliteSaver(connection) as saver:
        connection.execute("begin")
        for statement in FILL_SQLITE:
            sqlite3.Connection.cursor(connection).execute(statement, {"threads": THREADS, "runs": THREADS + 100})
        connection.execute("commit")
        if request.param == "analyzed":
            sqlite3.Connection.cursor(connection).execute("analyze")
        sent.clear()
        use_everything(saver)
    assert unsent([sqlite_backend], sent, str) == []
    plain = sqlite3.connect(path)
    plans = {
        statement: [str(row[3]) for row in plain.execute("explain query plan " + statement, bound)]
        for statement, bound in sent.items()
        if SQL.match(statement)
    }
    plain.close()
    connection.close()
    return plans


def aliases(statement: str) -> dict[str, str]:
    """The tables of a statement by the names that its plan gives them."""
    named = re.findall(r"\b(durably_\w+)(?: (?!set\b|where\b|on\b|values\b|left\b|order\b)(\w+))?", statement)
    return {alias or table: table for table, alias in named}


def scanned(statement: str, plan: list[str]) -> list[str]:
    """The lines of a plan of SQLite that read, or sort, in proportion to a table."""
    tables = aliases(statement)
    of_few = any(index in line for line in plan for index in FEW)
    return [line for line in plan if _is_scan(line, statement, tables) or (line.startswith("USE TEMP") and not of_few)]


def _is_scan(line: str, statement: str, tables: dict[str, str]) -> bool:
    kind, name, *_ = (*line.split(), "", "")
    if kind not in ("SCAN", "SEARCH") or tables.get(name, "") in {"", *OF_PROCESSES}:
        return False
    if kind == "SCAN":
        return not any(index in line for index in FEW)
    # Half of a table is a table, unless the rows come one page after the other and none is passed over.
    return line.endswith(("(rowid<?)", "(rowid>?)")) and statement != sqlite_backend.THREAD_NOS


def test_sqlite_finds_all_by_index(sqlite_plans: dict[str, list[str]]) -> None:
    bad = {statement: lines for statement, plan in sqlite_plans.items() if (lines := scanned(statement, plan))}
    assert bad == {}


@pytest.mark.parametrize(
    "statement",
    [
        "select * from durably_run where attempt = 1",
        "select * from durably_run r where r.no < 5 and r.attempt = 1",
        "select * from durably_thread t join durably_run r on r.key = t.thread_id where t.no = 1",
        "select * from durably_run where thread_no = 1 order by updated_at",
        "delete from durably_journal where data = x'00'",
    ],
)
def test_a_statement_without_an_index_is_found(tmp_path: Path, statement: str) -> None:
    SqliteSaver(tmp_path / "runs.db").close()
    connection = sqlite3.connect(tmp_path / "runs.db")
    plan = [str(row[3]) for row in connection.execute("explain query plan " + statement)]
    connection.close()
    assert scanned(statement, plan)


# ------------------------------------------------------------------------------------------------- Postgres

FILL_POSTGRES = f"""
    insert into {{schema}}.durably_thread
        select n, 't' || n, 1, n, n, case when n % 100 = 0 then 'p' || (n % 7) else '' end, 0, 0
        from generate_series(1, {THREADS}) n;
    insert into {{schema}}.durably_run
        select n, 'r' || n, 1 + (n - 1) % {THREADS}, case when n % 4 = 0 then 'w' || (n % 40) else 'w1' end,
        case when n % 5 = 2 then 'failed'
            else (array['running', 'asked', 'done', 'pending', 'done'])[least(n % 100, 4) + 1] end,
        1, n, n, '', '', '', '', null, 0, case when n % 50 = 0 then 'k' || n else '' end,
        0, case when n = 7 then 4 else 0 end, case when n % 100 = 3 then n end from generate_series(1, {THREADS} + 100) n;
    insert into {{schema}}.durably_journal select no, 1, '' from {{schema}}.durably_run;
    select setval('{{schema}}.durably_number', 1000000);
    analyze"""


@pytest.fixture(scope="module")
def postgres_place(postgres_server: Any) -> Iterator[tuple[Place, Sent]]:
    """A filled place, and what was sent to it."""
    place: Place = postgres_server.place()
    sent: Sent = {}
    execute = psycopg.Cursor.execute

    def noting(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        sent.setdefault(text, params)
        return execute(self, query, params, **options)

    with pytest.MonkeyPatch.context() as patch, PostgresSaver(place.conninfo, schema=place.schema) as saver:
        saver.setup()
        with psycopg.connect(place.conninfo, autocommit=True) as connection:
            connection.execute(FILL_POSTGRES.replace("{schema}", place.schema).encode())
        patch.setattr(psycopg.Cursor, "execute", noting)
        use_everything(saver)
        saver._writers.uncertain(OSError("lost"), Writer("lost", 1), list).find_out()
        session = saver.session()
        session.begin()
        assert session.finish(Chunk(5, 1, 5, b"chunk"))
        assert unsent([reading, writing, lending], sent, lambda text: saver._database.sql(text).decode()) == []
    yield place, {text: params for text, params in sent.items() if SQL.match(text) and "durably_" in text}


@pytest.mark.parametrize("kind", ["for these values", "for any values"])
def test_postgres_finds_all_by_index(postgres_place: tuple[Place, Sent], kind: str) -> None:
    place, sent = postgres_place
    bad = {}
    with psycopg.connect(place.conninfo, autocommit=True) as connection:
        teach(connection)
        for statement, bound in sent.items():
            if kind == "for any values":  # what a prepared statement gets after some uses
                text = "explain (format json, generic_plan) " + numbered(statement)
                rows = connection.execute(text.encode())
            else:
                rows = connection.execute(b"explain (format json) " + statement.encode(), bound)
            ((plan,),) = rows.fetchall()
            found = [node_name(node) for node in nodes(plan[0]["Plan"]) if reads_whole_table(node)]
            if found and "order by no limit" not in statement:  # there the pages of a whole table are meant
                bad[statement] = found
    assert bad == {}


def numbered(statement: str) -> str:
    """A statement with the server's own marks for its parameters."""
    first, *rest = re.split(r"%[sb]", statement.replace("%%", "%"))
    return first + "".join(f"${n}{text}" for n, text in enumerate(rest, 1))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes."""
    yield plan
    yield from chain.from_iterable(map(nodes, plan.get("Plans", [])))


def reads_whole_table(node: dict[str, Any]) -> bool:
    """Whether it reads a table, or an index that grows with it, from end to end."""
    if node["Node Type"] == "Seq Scan":
        return node["Relation Name"] not in OF_PROCESSES
    if "Index Name" not in node or node["Index Name"] in FEW or node.get("Relation Name") in OF_PROCESSES:
        return False
    # Half of a table is a table, unless the rows come one page after the other and none is passed over.
    return re.fullmatch(r"\(no [<>] [^()]*\)", node.get("Index Cond", "(no > 0)")) is not None


def node_name(node: dict[str, Any]) -> str:
    """What it is, for a message."""
    return json.dumps({key: value for key, value in node.items() if key != "Plans"})


@pytest.mark.parametrize(
    "statement",
    [
        "select * from {schema}.durably_run where attempt = 1",
        "select no from {schema}.durably_thread order by no",
        # No order of the threads gives the runs' order, so both are read as a whole.
        """select * from {schema}.durably_run r join {schema}.durably_thread t on t.run_no = r.no
        where r.workflow = '1' order by r.no desc limit 10""",
        # Such runs may all be at the other end.
        "select * from {schema}.durably_run where no < 5000 and status = 'failed' order by no desc limit 10",
    ],
)
def test_a_statement_without_an_index_is_found_on_postgres(postgres_place: tuple[Place, Sent], statement: str) -> None:
    place, _ = postgres_place
    with psycopg.connect(place.conninfo) as connection:
        text = "explain (format json) " + statement.replace("{schema}", place.schema)
        ((plan,),) = connection.execute(text.encode()).fetchall()
    assert any(reads_whole_table(node) for node in nodes(plan[0]["Plan"]))
