"""The operations of a store as SQL. Names and values are bound; only the structure of a filter or a listing varies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..names import joined
from .conditions import Condition
from .tables import index_on

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..embed import Vectors
    from ..ops import ListNamespacesOp, MatchCondition
    from ..plan import Delete, Find, Get, Put
    from ..vectors import Vector

__all__ = ["Statement", "delete", "find", "get", "listing", "nearest", "put", "release", "sweep", "touch"]

MOST_ROWS: Final = 2**62
FEW_NUMBERS: Final = 4_000_000
"""Up to so many numbers, in all vectors under a prefix, every vector is compared; beyond that the index is asked."""
REACH: Final = 4
"""How many vectors the index is asked for, for each item wanted: an item may have several."""

COLUMNS = "id, namespace, key, data, created, updated, expires"
LIVE = "(%(live_at)s::float8 is null or expires is null or expires > %(live_at)s::float8)"
# A label holds no dot and "/" follows ".": the range is what begins with the prefix and a dot.
INSIDE = """{of}namespace >= %(prefix)s::text and {of}namespace < %(prefix)s::text || '/'
    and ({of}namespace = %(prefix)s::text or {of}namespace > %(prefix)s::text || '.')"""

GET = f"""
    select {COLUMNS}, null::float8 from {{schema}}.durably_store
    where namespace = %(namespace)s::text and key = %(key)s::text and {LIVE}"""
RECENT = f"""
    select {COLUMNS}, null::float8 from {{schema}}.durably_store
    where /*under*/ and {LIVE} and /*filter*/
    order by updated desc, id desc limit %(size)s::bigint offset %(skip)s::bigint"""
NEAREST = f"""
    with few as materialized (
        select %(exact)s::bool or count(*) <= %(few)s::bigint as yes from (
            select from {{schema}}.durably_store_vectors v where /*under v*/ limit %(few)s::bigint + 1) counted),
    found as (
        (select v.item, v.vector <#> %(query)s::vector as distance, v.id
         from {{schema}}.durably_store_vectors v join {{schema}}.durably_store s on s.id = v.item
         where (select yes from few) and /*under v*/ and {LIVE} and /*filter*/)
        union all
        (select v.item, v.vector <#> %(query)s::vector as distance, v.id
         from {{schema}}.durably_store_vectors v join {{schema}}.durably_store s on s.id = v.item
         where not (select yes from few) and /*under v*/ and {LIVE} and /*filter*/
         order by /*indexed*/ limit %(reach)s::bigint)),
    best as (select item, min(distance) as distance, max(id) as last from found group by item)
    select {COLUMNS}, -distance, (select yes from few)
    from best join {{schema}}.durably_store s on s.id = best.item
    order by distance, last desc limit %(size)s::bigint offset %(skip)s::bigint"""

# One statement, so that a write that was claimed by another attempt writes nothing and needs no answer to know it.
CLAIMED = """
    with made as (
        insert into {schema}.durably_store_once (name, at)
        select %(once)s::text, %(now)s::float8 where %(once)s::text is not null
        on conflict do nothing returning name),
    claimed as (select 1 where %(once)s::text is null union all select 1 from made)"""
PUT = f"""{CLAIMED}, item as (
        insert into {{schema}}.durably_store as old (namespace, key, data, doc, created, updated, expires, ttl)
        select %(namespace)s::text, %(key)s::text, %(data)s::bytea, %(doc)s::jsonb, %(now)s::float8, %(now)s::float8,
            %(now)s::float8 + %(ttl)s::float8, %(ttl)s::float8 from claimed
        on conflict (namespace, key) do update set
            data = excluded.data, doc = excluded.doc, updated = excluded.updated, expires = excluded.expires,
            ttl = excluded.ttl, created = case
                when old.expires is null or old.expires > %(now)s::float8 then old.created else excluded.created end
        returning id)"""
PUT_PLAIN = f"{PUT} select count(*) from item"
PUT_VECTORS = f"""{PUT}
    insert into {{schema}}.durably_store_vectors (item, namespace, vector)
    select item.id, %(namespace)s::text, one::vector from item, unnest(%(vectors)s::text[]) as one"""
DELETE = f"""{CLAIMED}
    delete from {{schema}}.durably_store
    where namespace = %(namespace)s::text and key = %(key)s::text and exists (select from claimed)"""

TOUCH = """
    update {schema}.durably_store set expires = %(now)s::float8 + ttl
    where id = any(%(ids)s::bigint[]) and ttl is not null"""
SWEEP = """
    delete from {schema}.durably_store where id in (
        select id from {schema}.durably_store where expires is not null and expires <= %(now)s::float8
        limit %(size)s::bigint for update skip locked)"""
SWEEP_CLAIMS = """
    delete from {schema}.durably_store_once where name in (
        select name from {schema}.durably_store_once where expires is not null and expires <= %(now)s::float8
        limit %(size)s::bigint for update skip locked)"""
# "0" follows "/": the range is what begins with the run's id and a slash.
RELEASE = """
    update {schema}.durably_store_once set expires = %(expires)s::float8
    where name > %(run)s::text || '/' and name < %(run)s::text || '0' and expires is null"""
# Arrays are in the order of their labels, and so of the tuples; joined names are not.
NAMESPACES = f"""
    select distinct (parts[1:%(depth)s::int]) collate "C" as cut
    from (select string_to_array(namespace, '.') as parts from {{schema}}.durably_store where {LIVE}) named
    where /*filter*/ order by cut limit %(size)s::bigint offset %(skip)s::bigint"""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with its values, and a filter that stands for ``/*filter*/`` in it."""

    sql: str
    bound: dict[str, Any]
    filter: str = "true"
    is_nearest: bool = False


def get(planned: Get, live_at: float | None) -> Statement:
    """Read one item, if it is live."""
    return Statement(GET, {"namespace": joined(planned.namespace), "key": planned.key, "live_at": live_at})


def find(planned: Find, live_at: float | None) -> Statement:
    """Find items, those updated last first."""
    condition = Condition(planned.predicate)
    return Statement(under(RECENT, planned), {**page(planned, live_at), **condition.bound}, condition.sql)


def nearest(planned: Find, live_at: float | None, query: Vector, *, exact: bool) -> Statement:
    """Find items by the nearness of their best vector.

    Args:
        planned: what to find.
        live_at: leave out what has expired at this time.
        query: what they should be near to.
        exact: compare every vector, however many there are.
    """
    condition, dims = Condition(planned.predicate), len(query)
    bound = {
        **page(planned, live_at),
        "exact": exact,
        "query": as_text(query),
        "few": FEW_NUMBERS // dims,
        "reach": min(MOST_ROWS, REACH * (planned.limit + planned.offset)),
    }
    asked = "%(query)s::vector"
    indexed = f"{index_on(dims, 'v.vector')} <#> {index_on(dims, asked)}"
    sql = under(NEAREST, planned).replace("/*indexed*/", indexed)
    return Statement(sql, {**bound, **condition.bound}, condition.sql, is_nearest=True)


def under(sql: str, planned: Find) -> str:
    """Return the statement for a prefix: one form for everything, one that uses the index on namespaces."""
    inside = INSIDE if planned.prefix else "true"
    return sql.replace("/*under*/", inside.format(of="")).replace("/*under v*/", inside.format(of="v."))


def page(planned: Find, live_at: float | None) -> dict[str, Any]:
    """Return the values that every search binds."""
    return {
        "prefix": joined(planned.prefix),
        "live_at": live_at,
        "size": min(MOST_ROWS, planned.limit),
        "skip": min(MOST_ROWS, planned.offset),
    }


def put(planned: Put, doc: str | None, vectors: Vectors, now: float) -> Statement:
    """Write an item and its vectors, unless that was to be done once and has been."""
    bound = {
        "namespace": joined(planned.namespace),
        "key": planned.key,
        "data": planned.data,
        "doc": doc,
        "ttl": planned.ttl,
        "once": planned.once_key,
        "now": now,
    }
    if not planned.texts:
        return Statement(PUT_PLAIN, bound)
    found = [as_text(vectors.documents[text]) for text in planned.texts]
    return Statement(PUT_VECTORS, {**bound, "vectors": found})


def delete(planned: Delete, now: float) -> Statement:
    """Forget an item."""
    bound = {"namespace": joined(planned.namespace), "key": planned.key, "once": planned.once_key, "now": now}
    return Statement(DELETE, bound)


def touch(ids: Iterable[int], now: float) -> Statement:
    """Start the time of these items anew."""
    return Statement(TOUCH, {"ids": sorted(ids), "now": now})


def sweep(now: float, limit: int) -> tuple[Statement, Statement]:
    """Delete expired items, and claims that are over."""
    bound = {"now": now, "size": limit}
    return Statement(SWEEP, bound), Statement(SWEEP_CLAIMS, bound)


def release(run_id: str, expires: float) -> Statement:
    """Let the claims of a run go at that time."""
    return Statement(RELEASE, {"run": run_id, "expires": expires})


def listing(op: ListNamespacesOp, live_at: float | None) -> Statement:
    """List namespaces."""
    bound: dict[str, Any] = {
        "live_at": live_at,
        "depth": min(2**31 - 1, op.max_depth or 2**31 - 1),
        "size": min(MOST_ROWS, op.limit),
        "skip": min(MOST_ROWS, op.offset),
    }
    conditions = [matching(condition, bound) for condition in op.match_conditions or ()]
    return Statement(NAMESPACES, bound, " and ".join(conditions) or "true")


def matching(condition: MatchCondition, bound: dict[str, Any]) -> str:
    """Return what the labels must be, as a condition on the array of them; `bound` receives the values."""
    size = len(condition.path)
    first = "1" if condition.match_type == "prefix" else f"cardinality(parts) - {size - 1}"
    conditions = [f"cardinality(parts) >= {size}"]
    for place, label in enumerate(condition.path):
        if label != "*":
            name = f"label{len(bound)}"
            bound[name] = label
            conditions.append(f"parts[{first} + {place}] = %({name})s::text")
    return " and ".join(conditions)


def as_text(vector: Vector) -> str:
    """Return a vector as pgvector reads it."""
    return f"[{','.join(map(repr, vector.tolist()))}]"
