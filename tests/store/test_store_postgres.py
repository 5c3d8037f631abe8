"""What is special about the store on PostgreSQL: a real server, several processes, connections that are lost."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier, Event
from typing import Any

import psycopg
import psycopg_pool
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durably import entrypoint
from durably.checkpoint.postgres import PostgresSaver
from durably.errors import ConfigError, DatabaseUnavailable, StorageError
from durably.serde import EncryptedSerializer, TypedSerializer
from durably.store.base import BaseStore, GetOp, PutOp, SearchOp
from durably.store.filters import holds, parse
from durably.store.postgres import PostgresStore, statements, transactions
from durably.store.postgres.aio import AsyncPostgresStore
from durably.store.postgres.conditions import document, escaped
from durably.store.postgres.transactions import COMMIT, Transactions
from postgres_server import Place, Server

NS = ("users", "ada")
MakePostgres = Callable[..., PostgresStore]


@pytest.fixture
def make(postgres: Place) -> Iterator[MakePostgres]:
    """Makes stores on one place, the first time with its tables."""
    made: list[PostgresStore] = []

    def make(**options: Any) -> PostgresStore:
        made.append(PostgresStore(postgres.conninfo, schema=postgres.schema, **options))
        made[-1].setup()
        return made[-1]

    yield make
    for store in made:
        store.close()


def query(place: Place, sql: str) -> list[tuple[Any, ...]]:
    """What a program of its own sees in the database."""
    with psycopg.connect(place.conninfo, options=f"-c search_path={place.schema},public") as connection:
        return connection.execute(sql.encode()).fetchall()


def counting(embed: Callable[[str], Sequence[float]], dims: int) -> dict[str, Any]:
    return {"dims": dims, "embed": lambda texts: [embed(text) for text in texts], "fields": ["text", "more[*]"]}


BY_LETTERS = counting(lambda text: [float(text.count(letter)) for letter in "abc"], 3)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many statements each round trip carried."""
    made: list[int] = []
    before = Transactions._carried_out

    def carried_out(self: Transactions, connection: Any, work: Any) -> Any:
        made.append(len(work))
        return before(self, connection, work)

    monkeypatch.setattr(Transactions, "_carried_out", carried_out)
    return made


# ------------------------------------------------------------------------------------- filters, as others have them

NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 0.0, -0.0, 1.0, 0.1, 1e300, 1e22, 2**53, 2**53 + 1, float(2**53), 2**62 + 1, 2**63 - 1]),
    st.sampled_from([float(2**62), 2**62, 2**70, -(2**63), 4611686018427388000, 5e-324, float("nan"), float("inf")]),
    st.integers(-3, 3),
    st.floats(width=16),
)
TEXTS = st.text(alphabet="aB\x00\x01\x02é~😀'\"\\", max_size=3) | st.sampled_from(["true", "1", "null", "\ud800", "$a"])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
NAMES = st.sampled_from(["a", "b", "a'b", 'a"b', "\x00", "\x01", "a.b", "0", "%s", "{x}", "\ud800", "é"])
VALUES = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=2) | st.dictionaries(NAMES, one, max_size=2), max_leaves=5
)
CONDITIONS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), VALUES),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), NUMBERS.filter(lambda n: abs(n) < 1e301) | TEXTS),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(VALUES, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
).map(lambda pair: dict([pair]))
FILTERS = st.recursive(
    st.dictionaries(NAMES, CONDITIONS | VALUES.filter(lambda v: not isinstance(v, dict)), min_size=1, max_size=2),
    lambda one: (
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(one, min_size=1, max_size=2)).map(
            lambda pair: dict([pair])
        )
        | st.dictionaries(NAMES, one.filter(lambda f: not {"$and", "$or"} & set(f)), min_size=1, max_size=2)
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def shared(postgres_server: Server) -> Iterator[PostgresStore]:
    place = postgres_server.place()
    with PostgresStore(place.conninfo, schema=place.schema) as store:
        store.setup()
        yield store


@settings(max_examples=150)
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=5), st.lists(FILTERS, max_size=8))
def test_the_database_filters_exactly_as_this_library_does(
    shared: PostgresStore, documents: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> None:
    shared.batch([PutOp(NS, str(n), documents[n] if n < len(documents) else None) for n in range(5)])
    found = shared.batch([SearchOp(NS, one) for one in filters])

    for one, items in zip(filters, found, strict=True):
        wanted = {str(n) for n, value in enumerate(documents) if holds(parse(one), value)}
        assert {item.key for item in items} == wanted, one  # type: ignore[union-attr]


WHOLE = [
    2**53,
    2**53 + 1,
    float(2**53),
    2**62,
    float(2**62),
    2**63 - 1,
    4611686018427388000,
    1e22,
    10**22,
    0,
    -0.0,
    0.5,
]


def test_large_numbers_are_compared_exactly(shared: PostgresStore) -> None:
    shared.batch([PutOp(("numbers",), str(n), {"n": number}) for n, number in enumerate(WHOLE)])
    for number in WHOLE:
        for order in ("$eq", "$gt", "$gte", "$lt", "$lte"):
            one = {"n": {order: number}}
            wanted = {str(n) for n, other in enumerate(WHOLE) if holds(parse(one), {"n": other})}
            assert {item.key for item in shared.search(("numbers",), filter=one, limit=20)} == wanted, one


@given(st.lists(st.text(alphabet="\x00\x01\x02a\ud7ff\ue000😀"), min_size=2, max_size=2))
def test_texts_without_nul_stay_different_and_in_order(pair: list[str]) -> None:
    left, right = pair
    assert "\0" not in escaped(left)
    assert (escaped(left) < escaped(right)) is (left < right)
    assert (escaped(left) == escaped(right)) is (left == right)


def test_a_filter_too_large_for_a_statement_is_refused(shared: PostgresStore) -> None:
    with pytest.raises(ConfigError, match=r"more than 10000.*\$in"):
        shared.search(NS, filter={"$or": [{"n": n} for n in range(6000)]})
    shared.put(NS, "k", {"n": 5000})
    assert shared.search(NS, filter={"n": {"$in": list(range(20_000))}})


def test_only_the_structure_of_a_filter_becomes_sql(shared: PostgresStore) -> None:
    needle = "needle'; drop table durably_store; --"
    condition = statements.Condition(parse({needle: {needle: [needle]}, "a": {"$in": [needle]}, "b": {"$gt": needle}}))
    assert "needle" not in condition.sql
    assert ["needle" in str(value) for value in condition.bound.values()].count(True) == 5


# ----------------------------------------------------------------------------------------------- search by meaning


def random_vectors(count: int, dims: int) -> list[list[float]]:
    dice = random.Random(7)
    return [[dice.gauss(0, 1) for _ in range(dims)] for _ in range(count)]


@pytest.fixture(scope="module")
def crowd(postgres_server: Server) -> Iterator[PostgresStore]:
    """A thousand items with random vectors, a third of them with two."""
    place, vectors = postgres_server.place(), random_vectors(1400, 16)
    index = counting(lambda text: vectors[int(text)], 16)
    with PostgresStore(place.conninfo, schema=place.schema, index=index) as store:
        store.setup()
        puts = []
        for n in range(1000):
            more = [str(1000 + n // 3)] if n % 3 == 0 else []
            puts.append(PutOp(("crowd", str(n % 4)), str(n), {"text": str(n), "more": more, "n": n}))
        store.batch(puts)
        for table in ("durably_store", "durably_store_vectors"):
            store._database.run(f"analyze {{schema}}.{table}")
        yield store


def ranked(store: PostgresStore, prefix: tuple[str, ...], **options: Any) -> list[tuple[str, float]]:
    return [(item.key, item.score or 0.0) for item in store.search(prefix, **options)]


def test_the_index_finds_what_comparing_everything_finds(crowd: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[dict[str, Any]] = [
        {"query": "17"},
        {"query": "1100", "limit": 5, "offset": 5},
        {"query": "5", "filter": {"n": {"$lt": 500}}},
        {"query": "5", "filter": {"n": {"$in": [3, 999, 77]}}},
        {"query": "9", "filter": {"n": -1}},
    ]
    prefixes = [(), ("crowd",), ("crowd", "3")]
    exact = [ranked(crowd, prefix, **search) for search in searches for prefix in prefixes]
    monkeypatch.setattr(statements, "FEW_NUMBERS", 0)
    indexed = [ranked(crowd, prefix, **search) for search in searches for prefix in prefixes]

    assert [len(found) for found in exact] == [10, 10, 10, 5, 5, 5, 10, 10, 10, 3, 3, 2, 0, 0, 0]
    for one, other in zip(exact, indexed, strict=True):
        assert [key for key, _ in one] == [key for key, _ in other]
        assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-6)


def test_where_the_index_gives_up_everything_is_compared(
    crowd: PostgresStore, monkeypatch: pytest.MonkeyPatch, trips: list[int]
) -> None:
    """It looks at no more than so many vectors, which a selective filter may all refuse."""
    search: dict[str, Any] = {"query": "5", "filter": {"n": {"$in": [3, 999, 77]}}}
    exact = ranked(crowd, (), **search)
    monkeypatch.setattr(statements, "FEW_NUMBERS", 0)
    follow = "set_config('hnsw.max_scan_tuples', '1', true), set_config('hnsw.ef_search', '20', true)"
    force = "set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)"
    monkeypatch.setattr(transactions, "FOLLOW", statements.Statement(f"select {follow}, {force}", {}))
    trips.clear()

    assert ranked(crowd, (), **search) == exact
    assert len(exact) == 3
    assert trips == [4, 4]


def test_many_vectors_are_asked_for_by_the_index(crowd: PostgresStore, postgres_server: Server) -> None:
    planned = statements_of(crowd, SearchOp((), None, 10, 0, "17"))
    bound = {**planned.bound, "few": 0}
    with psycopg.connect(postgres_server.conninfo) as connection:
        text = crowd._transactions._text(planned)
        plan = connection.execute(b"explain (analyze, timing off) " + text, bound).fetchall()
    lines = "\n".join(line for (line,) in plan)
    assert "Index Scan using durably_store_vectors_hnsw" in lines
    assert "never executed" in lines, "the other way was not gone"


def statements_of(store: PostgresStore, op: SearchOp) -> statements.Statement:
    from durably.store.plan import plan, to_embed

    [planned] = plan([op], store._serde, store._embedder)
    assert store._embedder is not None
    return store._statement(planned, store._embedder.embed(to_embed([planned])), 0.0)


def test_writers_of_one_item_leave_the_vectors_of_the_last(make: MakePostgres, postgres: Place) -> None:
    store, barrier = make(index=BY_LETTERS), Barrier(6)

    def work(worker: int) -> None:
        barrier.wait()
        for n in range(15):
            store.put(NS, "k", {"text": "abc"[worker % 3] * (n + 1), "more": ["ab"] * (worker % 2)})

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work, worker) for worker in range(6)]:
            done.result()
    item = store.get(NS, "k")
    assert item is not None
    texts = [item.value["text"], *item.value["more"]]
    assert query(postgres, "select count(*) from durably_store_vectors") == [(len(texts),)]
    assert store.search(NS, query=texts[0])[0].score == pytest.approx(1.0)


def test_a_program_without_an_index_takes_the_vectors_of_what_it_replaces_along(
    make: MakePostgres, postgres: Place
) -> None:
    plain, indexed = make(), make(index=BY_LETTERS)
    for key in ("replaced", "deleted", "touched"):
        indexed.put(NS, key, {"text": "a"}, ttl=5)
    plain.put(NS, "replaced", {"text": "b"})
    plain.delete(NS, "deleted")
    assert plain.get(NS, "touched") is not None

    assert [item.key for item in indexed.search(NS, query="a")] == ["touched"]
    assert query(postgres, "select count(*) from durably_store_vectors") == [(1,)]


@pytest.mark.parametrize(("dims", "index"), [(2000, "vector_ip_ops"), (2001, "halfvec_ip_ops"), (4001, "")])
def test_long_vectors(
    make: MakePostgres, postgres: Place, monkeypatch: pytest.MonkeyPatch, dims: int, index: str
) -> None:
    store = make(index=counting(lambda text: [float(text == "x"), 1.0, *[0.0] * (dims - 2)], dims))
    store.batch([PutOp(NS, text, {"text": text}) for text in "xy"])
    for few in (statements.FEW_NUMBERS, 0):
        monkeypatch.setattr(statements, "FEW_NUMBERS", few)
        assert ranked(store, NS, query="x") == [("x", pytest.approx(1.0)), ("y", pytest.approx(0.5**0.5))]
    made = query(
        postgres,
        "select indexdef from pg_indexes where indexname = 'durably_store_vectors_hnsw' and schemaname = current_schema",
    )
    assert (index in made[0][0]) if index else not made


def test_vectors_too_long_for_pgvector_are_refused(postgres: Place) -> None:
    with pytest.raises(ConfigError, match="16000"):
        PostgresStore(postgres.conninfo, index={"dims": 16_001, "embed": len})


# ------------------------------------------------------------------------------------------------------ its tables


def test_without_setup_it_says_what_to_do(postgres: Place) -> None:
    plain = PostgresStore(postgres.conninfo, schema=postgres.schema)
    with pytest.raises(StorageError, match=r"setup\(\)"):
        plain.get(NS, "k")
    plain.setup()
    plain.put(NS, "k", {})
    indexed = PostgresStore(postgres.conninfo, schema=postgres.schema, index=BY_LETTERS)
    with pytest.raises(StorageError, match=r"vectors.*setup\(\)"):
        indexed.get(NS, "k")
    indexed.setup()
    assert indexed.get(NS, "k") is not None
    for store in (plain, indexed):
        store.close()


def test_an_index_of_another_length_is_explained(make: MakePostgres, postgres: Place) -> None:
    make(index=BY_LETTERS)
    other = PostgresStore(postgres.conninfo, schema=postgres.schema, index=counting(lambda _: [1.0, 2.0], 2))
    for act in (other.setup, lambda: other.get(NS, "k")):
        with pytest.raises(ConfigError, match="another length, 3,"):
            act()
    other.close()


def test_setup_by_many_at_once_and_again(postgres: Place) -> None:
    barrier = Barrier(4)

    def work(_: int) -> None:
        with PostgresStore(postgres.conninfo, schema=postgres.schema, index=BY_LETTERS) as store:
            barrier.wait()
            store.setup()
            store.setup()
            store.put(NS, "k", {"text": "a"})

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, n) for n in range(4)]:
            done.result()


def test_a_checkpointer_shares_the_schema(make: MakePostgres, postgres: Place) -> None:
    store = make()
    with PostgresSaver.from_conn_string(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()

        @entrypoint(checkpointer=saver, store=store)
        def main(text: str, *, store: BaseStore) -> str:
            store.put(NS, text, {}, once=True)
            return text

        assert main.invoke("a", thread_id="1") == "a"
    assert [item.key for item in store.search(NS)] == ["a"]
    assert query(postgres, "select expires is not null from durably_store_once") == [(True,)], "the run is over"


def test_the_script_does_what_setup_does(postgres: Place) -> None:
    with PostgresStore(postgres.conninfo, schema=postgres.schema, index=BY_LETTERS) as store:
        with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
            connection.execute(store.migrations_sql().encode())
        store.put(NS, "k", {"text": "a"})
        assert [item.key for item in store.search(NS, query="a")] == ["k"]


@pytest.mark.parametrize("serde", [EncryptedSerializer(keys=bytes(32)), type("Mine", (TypedSerializer,), {})()])
def test_with_another_serializer_values_are_in_its_bytes_alone(make: MakePostgres, postgres: Place, serde: Any) -> None:
    store = make(serde=serde)
    store.put(NS, "k", {"secret": "plaintext"})
    assert query(postgres, "select doc from durably_store") == [(None,)]
    assert store.get(NS, "k").value == {"secret": "plaintext"}  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="filter"):
        store.search(NS, filter={"secret": "plaintext"})


def test_names_too_long_for_an_index_are_refused(make: MakePostgres) -> None:
    store, dice = make(), random.Random(1)
    longest = "".join(chr(dice.randrange(0x4E00, 0x9FFF)) for _ in range(665))  # 3 bytes each, hard to compress
    store.put(("ada",), longest, {"n": 1})
    assert store.get(("ada",), longest) is not None
    with pytest.raises(ConfigError, match="digest"):
        store.put(("ada",), longest + "éé", {})


def test_what_filters_see_is_json() -> None:
    assert json.loads(document({"a": 1e22, "b": (1.5, True), "c\0": "\0", 7: "x"})) == {
        "a": 10**22, "b": [1.5, True], "c\1\1": "\1\1",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------- connections and crowds


def test_few_round_trips(make: MakePostgres, trips: list[int], clock: Any) -> None:
    store = make(index=BY_LETTERS, clock=clock)
    store.put(NS, "k", {"text": "a"})
    trips.clear()
    store.put(NS, "k", {"text": "a", "more": ["b", "c"]})
    assert trips == [2, 2]
    trips.clear()
    store.batch([PutOp(NS, str(n), {"text": "a"}, once_key=f"r/{n}") for n in range(100)])
    assert trips == [2, 101]
    trips.clear()
    assert store.get(NS, "k") is not None
    assert len(store.search(NS, limit=200)) == 101
    assert trips == [1, 1]
    trips.clear()
    assert len(store.search(NS, query="a", limit=3)) == 3
    assert trips == [4]
    trips.clear()
    store.batch([*[GetOp(NS, str(n)) for n in range(50)], SearchOp(NS)])
    assert trips == [53]
    store.put(NS, "k", {"text": "a"}, ttl=5)
    trips.clear()
    assert store.get(NS, "k") is not None
    assert trips == [1, 1], "the time of the item starts anew"
    trips.clear()
    store.forget_once("r")
    assert trips == [1]


@pytest.mark.parametrize("pgbouncer", [False, True])
def test_a_pool_or_a_connection_serves_as_well(make: MakePostgres, postgres: Place, pgbouncer: bool) -> None:
    make(index=BY_LETTERS)
    options: dict[str, Any] = {"schema": postgres.schema, "index": BY_LETTERS, "pgbouncer": pgbouncer}
    with psycopg_pool.ConnectionPool(postgres.conninfo, min_size=1, max_size=2) as pool:
        PostgresStore(pool, **options).put(NS, "k", {"text": "a"})
    with psycopg.connect(postgres.conninfo, row_factory=psycopg.rows.dict_row) as connection:
        store = PostgresStore(connection, **options)
        assert [item.key for item in store.search(NS, query="a")] == ["k"]
        store.batch([GetOp(NS, "k"), PutOp(NS, "k2", {"text": "b"}), SearchOp(NS, query="b")])
        store.close()
        assert not connection.closed


def test_the_async_name_is_the_same_class(postgres: Place) -> None:
    async def main() -> None:
        name = postgres.schema
        async with AsyncPostgresStore.from_conn_string(postgres.conninfo, schema=name, pipeline=False) as store:
            await store.setup()
            await asyncio.gather(*[store.aput(NS, str(n), {"n": n}) for n in range(10)])
            assert len(await store.asearch(NS, filter={"n": {"$lt": 5}})) == 5

    assert AsyncPostgresStore is PostgresStore
    asyncio.run(main())


WRITER = """
import sys
from durably.store.base import GetOp, PutOp
from durably.store.postgres import PostgresStore
conninfo, schema, worker = sys.argv[1:]
with PostgresStore(conninfo, schema=schema) as store:
    for n in range(40):
        store.put(("w", worker), str(n), {"n": n, "worker": worker})
        store.batch([GetOp(("shared",), str(n)), PutOp(("shared",), str(n), {"worker": worker})])
        keys = [str(n % 7), str((n * 3) % 7)]
        store.batch([PutOp(("crossed",), key, {"worker": worker}) for key in (keys if int(worker) % 2 else keys[::-1])])
        store.batch([PutOp(("n",), str(n), {"by": worker}, None, None, f"run/call{n}")])
        store.put(("seen", worker), str(n), {"by": store.get(("n",), str(n)).value["by"]})
"""


def test_processes_write_at_once_and_lose_nothing(make: MakePostgres, postgres: Place) -> None:
    store = make()
    soon = f"{postgres.conninfo} options='-c deadlock_timeout=10ms'"
    command = [sys.executable, "-c", WRITER, soon, postgres.schema]
    processes = [subprocess.Popen([*command, str(n)]) for n in range(3)]

    assert [process.wait(300) for process in processes] == [0, 0, 0]
    winners = {item.key: item.value["by"] for item in store.search(("n",), limit=100)}
    for worker in range(3):
        assert {item.value["n"] for item in store.search(("w", str(worker)), limit=100)} == set(range(40))
        seen = store.search(("seen", str(worker)), limit=100)
        assert {item.key: item.value["by"] for item in seen} == winners
    assert len(store.search(("shared",), limit=100)) == 40


def test_a_batch_that_deadlocks_with_another_is_carried_out_again(make: MakePostgres, postgres: Place) -> None:
    make()
    soon = f"{postgres.conninfo} options='-c deadlock_timeout=10ms'"
    store, barrier = PostgresStore(soon, schema=postgres.schema), Barrier(4)

    def work(worker: int) -> None:
        keys = [str(n) for n in range(30)]
        barrier.wait()
        for _ in range(5):
            random.Random(worker).shuffle(keys)
            store.batch([PutOp(NS, key, {"by": worker}) for key in keys])

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, worker) for worker in range(4)]:
            done.result()
    assert len(store.search(NS, limit=100)) == 30
    assert len({item.value["by"] for item in store.search(NS, limit=100)}) == 1, "a batch is written whole"
    store.close()


def test_once_is_decided_between_writers_that_race(make: MakePostgres) -> None:
    store, barrier = make(), Barrier(6)

    def work(worker: int) -> None:
        barrier.wait()
        for n in range(10):
            store.batch([PutOp(NS, str(n), {"by": worker}, once_key=f"run/{n}")])
            item = store.get(NS, str(n))
            assert item is not None
            seen.append((n, item.value["by"]))

    seen: list[tuple[int, int]] = []
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work, worker) for worker in range(6)]:
            done.result()
    assert len(seen) == 60
    assert len(set(seen)) == 10, "nobody ever saw another writer's value"


def test_lost_connections_are_replaced() -> None:
    with Server() as server:
        place = server.place()
        with PostgresStore(place.conninfo, schema=place.schema) as store:
            store.setup()
            store.put(NS, "k", {"n": 1})
            server.restart()
            assert store.get(NS, "k").value == {"n": 1}  # type: ignore[union-attr]
            server.restart()
            store.put(NS, "k", {"n": 2})
            server.stop()
            impatient = PostgresStore(place.conninfo, schema=place.schema, reconnect_for=0.05)
            for act in (lambda: impatient.get(NS, "k"), lambda: impatient.put(NS, "k", {"n": 3})):
                with pytest.raises(DatabaseUnavailable):
                    act()
            server.start()
            assert store.get(NS, "k").value == {"n": 2}  # type: ignore[union-attr]


def test_no_write_is_lost_or_made_twice_while_connections_are_killed(make: MakePostgres, postgres: Place) -> None:
    make()._database.run(
        """create function {schema}.audit() returns trigger language plpgsql as $$
           begin insert into {schema}.writes values (new.key); return null; end $$"""
    )
    with psycopg.connect(postgres.conninfo, autocommit=True) as killer:
        killer.execute(f"create table {postgres.schema}.writes (key text)".encode())
        killer.execute(
            f"create trigger audit after insert or update on {postgres.schema}.durably_store "
            f"for each row execute function {postgres.schema}.audit()".encode()
        )
        store = PostgresStore(f"{postgres.conninfo} application_name={postgres.schema}", schema=postgres.schema)

        def work(worker: int) -> list[str]:
            keys = []
            while not enough.is_set():
                keys.append(f"{worker}/{len(keys)}")
                store.put(NS, keys[-1], {})
            return keys

        enough, killed = Event(), 0
        kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = %s"
        with ThreadPoolExecutor(3) as pool:
            working = [pool.submit(work, worker) for worker in range(3)]
            while killed < 12 and not any(one.done() for one in working):
                row = killer.execute(kill, (postgres.schema,)).fetchone()
                killed += row[0] if row else 0
                wait(working, timeout=0.02)
            enough.set()
        keys = [key for one in working for key in one.result()]
        store.close()
    written = query(postgres, "select key, count(*) from writes group by key")
    assert sorted(written) == sorted((key, 1) for key in keys)


def test_roles_with_few_rights(postgres_server: Server, postgres: Place) -> None:
    """Who deploys owns the database and is no superuser; who runs may read and write tables."""
    name = postgres.schema
    with psycopg.connect(postgres.conninfo, autocommit=True) as administrator:
        for statement in (
            f"create role {name}_owner login", f"create role {name}_app login", f"create database {name} owner {name}_owner",
        ):  # fmt: skip
            administrator.execute(statement.encode())

    def conninfo(role: str) -> str:
        return f"host={postgres_server.folder} dbname={name} user={role}"

    with PostgresStore(conninfo(f"{name}_owner"), schema="memory", index=BY_LETTERS) as owner:
        with pytest.raises(ConfigError, match="administrator"):
            owner.setup()
        with psycopg.connect(conninfo("postgres"), autocommit=True) as administrator:
            administrator.execute(b"create extension vector")
        owner.setup()
    with psycopg.connect(conninfo(f"{name}_owner"), autocommit=True) as grants:
        grants.execute(f"grant usage on schema memory to {name}_app".encode())
        grants.execute(f"grant select, insert, update, delete on all tables in schema memory to {name}_app".encode())
    with PostgresStore(conninfo(f"{name}_app"), schema="memory", index=BY_LETTERS) as app:
        app.batch([PutOp(NS, "k", {"text": "a"}, None, 5.0, "run/call"), PutOp(NS, "k", {"text": "b"})])
        assert [item.key for item in app.search(NS, query="b", filter={"text": "b"})] == ["k"]
        app.forget_once("run")
        app.sweep_ttl()
        app.delete(NS, "k")
        assert app.list_namespaces() == []
        with pytest.raises(StorageError, match="own"):
            PostgresStore(conninfo(f"{name}_app"), schema="another").setup()


@pytest.mark.parametrize("took_effect", [True, False])
@pytest.mark.parametrize("reads", [True, False])
def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_repeated(
    make: MakePostgres, monkeypatch: pytest.MonkeyPatch, took_effect: bool, reads: bool
) -> None:
    store, other = make(), make()
    before, cuts = Transactions._carried_out, [took_effect]

    def cut(self: Transactions, connection: Any, work: Any) -> Any:
        if work[-1] is not COMMIT or not cuts or self is not store._transactions:
            return before(self, connection, work)
        if cuts.pop():
            before(self, connection, work)
            other.put(NS, "k", {"by": "somebody else, later"})
        connection.close()
        raise DatabaseUnavailable("the connection was cut")

    store.put(NS, "old", {"n": 1})
    monkeypatch.setattr(Transactions, "_carried_out", cut)
    results = store.batch([PutOp(NS, "k", {"by": "me"}), *([GetOp(NS, "old")] if reads else [])])

    assert not cuts
    assert [one and one.value for one in results] == [None, *([{"n": 1}] if reads else [])]  # type: ignore[union-attr]
    wanted = "somebody else, later" if took_effect else "me"
    assert store.get(NS, "k").value == {"by": wanted}  # type: ignore[union-attr]
