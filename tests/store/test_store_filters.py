"""Filters: a table of cases and hostile input, on every backend."""

from __future__ import annotations

import enum
import json
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durably.errors import ConfigError
from durably.serde import EncryptedSerializer
from durably.store.base import BaseStore
from durably.store.filters import holds, parse
from durably.store.memory import InMemoryStore
from durably.store.project import project

NS = ("n",)
DOCUMENT: dict[str, Any] = {
    "kind": "note",
    "stars": 4,
    "score": 1.5,
    "done": True,
    "nothing": None,
    "tags": ["a", "b"],
    "home": {"city": "Riga", "zip": {"code": "LV-1001"}},
    "dotted.name": 1,
    "$price": 7,
    "": "empty name",
}
HOLD: list[dict[str, Any]] = [
    {},
    {"kind": "note"},
    {"kind": "note", "stars": 4},
    {"stars": 4.0},
    {"done": True},
    {"nothing": None},
    {"tags": ["a", "b"]},
    {"tags": ("a", "b")},
    {"home": {"city": "Riga"}},
    {"home": {"zip": {"code": "LV-1001"}}},
    {"home": {"zip": {"code": {"$gt": "LV-1000"}}}},
    {"home": {}},
    {"home": {"$eq": {"city": "Riga", "zip": {"code": "LV-1001"}}}},
    {"dotted.name": 1},
    {"kind": {"$eq": "note"}},
    {"kind": {"$ne": "task"}},
    {"missing": {"$ne": "task"}},
    {"missing": {"$nin": [1, 2]}},
    {"stars": {"$gt": 3}},
    {"stars": {"$gte": 4, "$lte": 4}},
    {"score": {"$lt": 2}},
    {"kind": {"$gt": "alpha"}},
    {"kind": {"$in": ["task", "note"]}},
    {"tags": {"$in": [["a", "b"]]}},
    {"nothing": {"$exists": True}},
    {"missing": {"$exists": False}},
    {"home": {"street": {"$exists": False}}},
    {"$or": [{"kind": "task"}, {"stars": {"$gte": 4}}]},
    {"$and": [{"kind": "note"}, {"$or": [{"stars": 1}, {"done": True}]}]},
    {"stars": {"$or": [{"$lt": 1}, {"$gt": 3}]}},
    {"home": {"$or": [{"city": "Oslo"}, {"city": "Riga"}]}},
    {"kind": "note", "$or": [{"stars": 4}, {"stars": 5}]},
]
FAIL: list[dict[str, Any]] = [
    {"kind": "Note"},
    {"kind": "note", "stars": 5},
    {"stars": "4"},
    {"done": 1},
    {"stars": {"$eq": True}},
    {"missing": None},
    {"nothing": {"$ne": None}},
    {"tags": ["b", "a"]},
    {"tags": "a"},
    {"home": {"city": "Oslo"}},
    {"home": {"city": {"name": "Riga"}}},
    {"home": {"$eq": {"city": "Riga"}}},
    {"kind": {}},
    {"missing": {"inner": {"$ne": 1}}},
    {"kind": {"$gt": 3}},
    {"stars": {"$gt": "3"}},
    {"done": {"$gte": 0}},
    {"nothing": {"$lt": 1}},
    {"missing": {"$lte": 1}},
    {"stars": {"$gt": 4}},
    {"stars": {"$lt": 4}},
    {"kind": {"$in": []}},
    {"missing": {"$in": [None]}},
    {"kind": {"$nin": ["note"]}},
    {"missing": {"$exists": True}},
    {"nothing": {"$exists": False}},
    {"dotted": {"name": 1}},
    {"home.city": "Riga"},
    {"$or": [{"kind": "task"}, {"stars": 1}]},
    {"$and": [{"kind": "note"}, {"stars": 1}]},
    {"kind": "note", "$or": [{"stars": 1}, {"stars": 5}]},
]
REFUSED: list[Any] = [
    "kind = 'note'",
    ["kind"],
    {1: 2},
    {"": 1},
    {"kind": {"": 1}},
    {"kind": {"$regex": "n.*"}},
    {"kind": {"$where": "1=1"}},
    {"kind": {"$": 1}},
    {"$eq": 1},
    {"$not": [{"kind": 1}]},
    {"$or": []},
    {"$or": {"kind": 1}},
    {"$or": ["kind"]},
    {"$and": [{"$gt": 1}]},
    {"kind": {"$gt": 1, "name": 2}},
    {"kind": {"$in": "note"}},
    {"kind": {"$nin": 3}},
    {"kind": {"$exists": 1}},
    {"kind": {"$gt": None}},
    {"kind": {"$lt": [1]}},
    {"kind": {"$gte": True}},
    {"kind": {"$gt": float("nan")}},
]


def found(store: BaseStore, filter: Any) -> bool:
    return [item.key for item in store.search(NS, filter=filter)] == ["k"]


@pytest.mark.parametrize("filter", HOLD, ids=str)
def test_filters_that_hold(store: BaseStore, filter: dict[str, Any]) -> None:
    store.put(NS, "k", DOCUMENT)

    assert found(store, filter)


@pytest.mark.parametrize("filter", FAIL, ids=str)
def test_filters_that_do_not(store: BaseStore, filter: dict[str, Any]) -> None:
    store.put(NS, "k", DOCUMENT)

    assert not found(store, filter)


@pytest.mark.parametrize("filter", REFUSED, ids=str)
def test_filters_that_cannot_be(store: BaseStore, filter: Any) -> None:
    with pytest.raises(ConfigError):
        store.search(NS, filter=filter)


def test_a_filter_nested_too_deep_is_refused_not_crashed(store: BaseStore) -> None:
    filter: dict[str, Any] = {"a": 1}
    for _ in range(5000):
        filter = {"a": filter}
    with pytest.raises(ConfigError, match="deeper"):
        store.search(NS, filter=filter)
    disjunction: dict[str, Any] = {"a": 1}
    for _ in range(5000):
        disjunction = {"$or": [disjunction]}
    with pytest.raises(ConfigError, match="deeper"):
        store.search(NS, filter=disjunction)
    operand: list[Any] = []
    for _ in range(50_000):
        operand = [operand]
    with pytest.raises(ConfigError, match="deep"):
        store.search(NS, filter={"a": {"$eq": operand}})


@dataclass
class Place:
    city: str
    since: date


EAST = timezone(timedelta(hours=2))


class Mood(enum.Enum):
    GOOD = "good"


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("value", "filter", "result"),
    [
        (datetime(2024, 1, 1, 12, tzinfo=UTC), {"$gt": datetime(2024, 1, 1, 11, 59, tzinfo=UTC)}, True),
        (datetime(2024, 1, 1, 12, tzinfo=UTC), {"$eq": datetime(2024, 1, 1, 14, tzinfo=EAST)}, True),
        (datetime(2024, 1, 1, 12, 0, 0), {"$lt": datetime(2024, 1, 1, 12, 0, 0, 500)}, True),
        (date(2024, 1, 2), {"$gte": date(2024, 1, 10)}, False),
        (Decimal("1.5"), {"$gt": 1}, True),
        (UUID(int=5), {"$eq": UUID(int=5)}, True),
        (2**70, {"$gt": 2**69}, True),
        (2**63 - 1, {"$eq": 2**63 - 1}, True),
        (2**63 - 1, {"$eq": 2**63 - 2}, False),
        ((1, 2), {"$eq": [1, 2]}, True),
        (float("inf"), {"$gt": 1}, False),
        (b"raw", {"$exists": True}, True),
        (b"raw", {"$eq": None}, False),
        ({"x": (1, {"y": 2})}, {"x": [1, {"y": 2}]}, True),
        ("\ud800", {"$eq": "\ud800"}, True),
    ],
)  # fmt: skip
def test_values_that_json_does_not_know(store: BaseStore, value: Any, filter: Any, result: bool) -> None:
    store.put(NS, "k", {"v": value})

    assert found(store, {"v": filter}) is result


def test_records_are_looked_into() -> None:
    import attrs
    import msgspec
    import pydantic

    Model = pydantic.create_model("Model", city=(str, ...))
    Struct = msgspec.defstruct("Struct", [("city", str)])
    Attrs = attrs.make_class("Attrs", ["city"])
    values = [Place("Riga", date(2024, 1, 1)), Model(city="Riga"), Struct("Riga"), Attrs("Riga")]
    for value in values:
        assert holds(parse({"home": {"city": "Riga"}}), {"home": value})
        assert not holds(parse({"home": {"city": "Oslo"}}), {"home": value})
    assert holds(parse({"pair": {"left": 1}}), {"pair": Pair(1, 2)})
    assert holds(parse({"mood": "good"}), {"mood": Mood.GOOD})
    assert holds(parse({"mood": Mood.GOOD}), {"mood": Mood.GOOD})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b", "1", "'", '"', "$eq", "a.b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=6,
)
NAMES = st.sampled_from("abc")
SCALARS = st.integers(-3, 3) | st.sampled_from(["", "a", "b", "1"])
CONDITIONS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), JSON),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), SCALARS),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(JSON, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
)


def oracle(condition: tuple[str, Any], document: dict[str, Any], name: str) -> bool:
    """The rules once more, said with JSON texts, where true and 1 differ by themselves."""
    name_is_there = name in document
    text = json.dumps(document.get(name), sort_keys=True)
    operator, operand = condition
    match operator:
        case "$exists":
            return name_is_there is operand
        case "$eq" | "$in":
            wanted = operand if operator == "$in" else [operand]
            return name_is_there and text in [json.dumps(one, sort_keys=True) for one in wanted]
        case "$ne" | "$nin":
            return not oracle(("$eq" if operator == "$ne" else "$in", operand), document, name)
    value = document.get(name)
    if type(value) is not type(operand):
        return False
    return {
        "$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand,
    }[operator]  # type: ignore[operator]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=3), st.lists(st.tuples(NAMES, CONDITIONS), min_size=1, max_size=3))
def test_any_condition_agrees_with_the_oracle(
    document: dict[str, Any], conditions: list[tuple[str, tuple[str, Any]]]
) -> None:
    parts = [{name: {condition[0]: condition[1]}} for name, condition in conditions]
    results = [oracle(condition, document, name) for name, condition in conditions]

    assert holds(parse({"$and": parts}), document) is all(results)
    assert holds(parse({"$or": parts}), document) is any(results)


HOSTILE = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "' OR 1=1 --",
            "'; DROP TABLE durably_store; --",
            "') OR ('1'='1",
            "$.a",
            "$",
            "$[0]",
            "a'b",
            'a"b',
            "a\\",
            "?1",
            ":x",
            "%s",
            "{}",
            "{under}",
            "\x00",
            "\ud800",
            "__class__",
            "a.b[0]",
            "*",
            "😀",
            "a" * 5000,
        ]
    ),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=HOSTILE, value=HOSTILE)
def test_hostile_names_and_values_of_filters_are_only_compared(store: BaseStore, name: str, value: str) -> None:
    document = {name: value, "inner": {name: [value]}}
    store.put(NS, "k", document)
    store.put(("other",), "secret", {"x": 1})

    if name == "" or name.startswith("$"):
        with pytest.raises(ConfigError):
            store.search(NS, filter={name: value})
        return
    assert found(store, {name: value})
    assert found(store, {"inner": {name: [value]}})
    assert found(store, {name: {"$in": ["nothing like it", value], "$gte": value, "$exists": True}})
    assert not found(store, {name: value + "x"})
    assert not found(store, {name + "x": value})
    assert store.get(("other",), "secret") is not None


@given(st.dictionaries(st.text(), JSON | st.text() | st.floats() | st.integers(), max_size=4))
def test_the_json_kind_of_any_value_is_json(value: dict[str, Any]) -> None:
    plain = project(value)

    assert project(plain) == plain
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    json.dumps(plain, ensure_ascii=False).encode()


def test_encrypted_values_cannot_be_filtered() -> None:
    store = InMemoryStore(serde=EncryptedSerializer(keys=bytes(32)))
    store.put(("users",), "ada", {"city": "Turin"})
    assert store.get(("users",), "ada").value == {"city": "Turin"}  # type: ignore[union-attr]
    assert [item.key for item in store.search(("users",))] == ["ada"]
    with pytest.raises(ConfigError, match="encrypted"):
        store.search(("users",), filter={"city": "Turin"})
