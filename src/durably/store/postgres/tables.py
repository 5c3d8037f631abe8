"""The tables of a store, and those of its vectors, which are there only where a store has an index."""

from __future__ import annotations

from typing import Final

from ..._schema import Schema
from ...errors import ConfigError

__all__ = ["MOST_NAMES", "SCHEMA", "index_on", "vectors"]

MOST_NAMES: Final = 2_000
"""Bytes that a namespace and a key have together at most: an index entry has to fit into a third of a page."""

# Names are compared by their bytes ("C"), so that what begins with a prefix is one range, whatever the database sorts by.
SCHEMA: Final = Schema(
    "store",
    (
        (
            """create table {schema}.durably_store (
               id bigint generated always as identity primary key, namespace text collate "C" not null,
               key text collate "C" not null, data bytea not null, doc jsonb, created double precision not null,
               updated double precision not null, expires double precision, ttl double precision,
               unique (namespace, key))""",
            "create index durably_store_recent on {schema}.durably_store (namespace, updated)",
            "create index durably_store_expires on {schema}.durably_store (expires) where expires is not null",
            """create table {schema}.durably_store_once (
               name text collate "C" primary key, at double precision not null, expires double precision)""",
            """create index durably_store_once_expires on {schema}.durably_store_once (expires)
               where expires is not null""",
        ),
    ),
)

MOST_DIMS: Final = 16_000
INDEXED_DIMS: Final = 2_000
INDEXED_HALF_DIMS: Final = 4_000  # in two bytes each instead of four


def vectors(dims: int) -> Schema:
    """The tables for vectors of this length, in a database with pgvector.

    Raises:
        ConfigError: pgvector has no vectors as long.
    """
    if dims > MOST_DIMS:
        raise ConfigError(f"index['dims'] is {dims}; PostgreSQL keeps vectors of up to {MOST_DIMS} numbers")
    table = [statement.replace("DIMS", str(dims)) for statement in TABLE]
    return Schema("store vectors", ((*table, *index(dims)),))


def index_on(dims: int, vector: str) -> str:
    """What the index orders by: an expression of SQL, of vectors of this length."""
    return f"({vector}::halfvec({dims}))" if dims > INDEXED_DIMS else vector


def index(dims: int) -> tuple[str, ...]:
    """The statement that makes the index; none for vectors that are too long for one."""
    if dims > INDEXED_HALF_DIMS:
        return ()
    # Vectors have the length one, so the inner product is the cosine; and unlike that it is defined for zeros.
    kind = "halfvec_ip_ops" if dims > INDEXED_DIMS else "vector_ip_ops"
    what = index_on(dims, "vector")
    return (f"create index durably_store_vectors_hnsw on {{schema}}.durably_store_vectors using hnsw ({what} {kind})",)


# A value that is replaced takes its vectors along, also when a program without an index replaces it. The trigger's
# statement sees what was committed while the row was waited for; a part of the writing statement itself would not.
TABLE: Final = (
    """create table {schema}.durably_store_vectors (
       id bigint generated always as identity primary key,
       item bigint not null references {schema}.durably_store on delete cascade,
       namespace text collate "C" not null, vector vector(DIMS) not null)""",
    "create index durably_store_vectors_item on {schema}.durably_store_vectors (item)",
    "create index durably_store_vectors_namespace on {schema}.durably_store_vectors (namespace)",
    """create function {schema}.durably_store_replaced() returns trigger language plpgsql as $$
       begin delete from {schema}.durably_store_vectors where item = old.id; return new; end $$""",
    """create trigger durably_store_replaced before update of data on {schema}.durably_store
       for each row execute function {schema}.durably_store_replaced()""",
)
