"""What every store promises, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durably.errors import ConfigError, EncodeError, OutsideRunError
from durably.serde import TypedSerializer
from durably.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    SearchOp,
)
from durably.store.names import matches

NS = ("users", "ada")
InCall = Callable[[str, str], None]


def keys(items: list[SearchItem]) -> list[str]:
    return [item.key for item in items]


def test_put_get_delete(store: BaseStore) -> None:
    store.put(NS, "k", {"a": 1})
    item = store.get(NS, "k")

    assert isinstance(item, Item)
    assert (item.namespace, item.key, item.value) == (NS, "k", {"a": 1})
    store.delete(NS, "k")
    assert store.get(NS, "k") is None
    store.delete(NS, "k")


def test_one_key_in_two_namespaces_is_two_items(store: BaseStore) -> None:
    store.put(("a",), "k", {"n": 1})
    store.put(("a", "b"), "k", {"n": 2})
    store.put(("ab",), "k", {"n": 3})

    assert [store.get(ns, "k").value["n"] for ns in (("a",), ("a", "b"), ("ab",))] == [1, 2, 3]  # type: ignore[union-attr]
    store.delete(("a",), "k")
    assert store.get(("a",), "k") is None
    assert store.get(("a", "b"), "k") is not None


def test_values_keep_their_types(store: BaseStore) -> None:
    value = {
        "when": datetime(2024, 5, 17, tzinfo=UTC),
        "pair": (1, [2, {3}]),
        "price": Decimal("1.10"),
        "big": 2**70,
        "raw": b"\x00\xff",
        "nan": float("inf"),
        "empty": {},
        "none": None,
        7: "int key",
    }
    store.put(NS, "k", value)

    found = store.get(NS, "k")
    assert found is not None
    assert found.value == value
    assert type(found.value["pair"]) is tuple


def test_what_cannot_be_stored_is_refused_and_nothing_changes(store: BaseStore) -> None:
    store.put(NS, "k", {"a": 1})
    with pytest.raises(EncodeError):
        store.batch([PutOp(NS, "other", {"a": 1}), PutOp(NS, "k", {"bad": object()})])

    assert store.get(NS, "other") is None
    assert store.get(NS, "k").value == {"a": 1}  # type: ignore[union-attr]


def test_values_are_copies(store: BaseStore) -> None:
    value: dict[str, Any] = {"list": [1]}
    store.put(NS, "k", value)
    value["list"].append(2)
    first = store.get(NS, "k")
    assert first is not None
    first.value["list"].append(3)

    assert store.get(NS, "k").value == {"list": [1]}  # type: ignore[union-attr]
    assert store.search(NS)[0].value == {"list": [1]}


def test_times_of_creation_and_update(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock)
    store.put(NS, "k", {"n": 1})
    first = store.get(NS, "k")
    clock.minutes(1)
    store.put(NS, "k", {"n": 2})
    second = store.get(NS, "k")

    assert first.created_at == first.updated_at == second.created_at
    assert 60 <= (second.updated_at - second.created_at).total_seconds() < 61
    assert second.created_at.tzinfo is UTC
    store.delete(NS, "k")
    store.put(NS, "k", {"n": 3})
    assert store.get(NS, "k").created_at > second.updated_at


def test_an_item_as_dict_and_in_a_set(store: BaseStore) -> None:
    store.put(NS, "k", {"n": 1})
    [item] = store.search(NS)

    assert item.dict() == {
        "namespace": ["users", "ada"],
        "key": "k",
        "value": {"n": 1},
        "created_at": item.created_at.isoformat(),
        "updated_at": item.updated_at.isoformat(),
        "score": None,
    }
    assert len({item, store.search(NS)[0]}) == 1


def test_what_a_store_returns_can_be_the_result_of_a_task(store: BaseStore) -> None:
    store.put(NS, "k", {"n": (1, 2)})
    answers = [store.get(NS, "k"), store.search(NS), store.list_namespaces()]
    serializer = TypedSerializer()

    assert serializer.loads(serializer.dumps(answers)) == answers


def test_search_finds_what_lies_under_a_prefix(store: BaseStore) -> None:
    for namespace in (("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("a-b",), ("a/b",), ("b", "a"), ("é",)):
        store.put(namespace, "/".join(namespace), {})

    assert set(keys(store.search(("a",)))) == {"a", "a/b", "a/b/c"}
    assert set(keys(store.search(("a", "b")))) == {"a/b", "a/b/c"}
    assert keys(store.search(("é",))) == ["é"]
    assert len(store.search(())) == 8
    assert store.search(("nobody",)) == []


def test_search_returns_the_last_updated_first_in_pages(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock)
    for n in range(40):
        store.put(("a", str(n % 3)), f"k{n}", {"n": n})
    store.put(("a", "0"), "k0", {"n": 0})

    everything = keys(store.search(("a",), limit=100))
    assert everything == ["k0", *[f"k{n}" for n in range(39, 0, -1)]]
    assert keys(store.search(("a",))) == everything[:10]
    assert keys(store.search(("a",), limit=7, offset=5)) == everything[5:12]
    assert keys(store.search(("a",), limit=7, offset=38)) == everything[38:]
    assert store.search(("a",), limit=0) == []
    paged = keys(store.search(("a",), filter={"n": {"$lt": 20}}, limit=5, offset=3))
    assert paged == [key for key in everything if int(key[1:]) < 20][3:8]


def test_a_query_without_an_index_is_left_out(store: BaseStore) -> None:
    store.put(NS, "k", {"text": "tea"})

    assert [(item.key, item.score) for item in store.search(NS, query="coffee")] == [("k", None)]


def test_list_namespaces(store: BaseStore) -> None:
    for namespace in (("a", "b", "c"), ("a", "b", "d"), ("a", "x"), ("z", "b", "c"), ("z",)):
        store.put(namespace, "k1", {})
        store.put(namespace, "k2", {})

    listed = store.list_namespaces
    assert listed() == [("a", "b", "c"), ("a", "b", "d"), ("a", "x"), ("z",), ("z", "b", "c")]
    assert listed(prefix=("a",)) == [("a", "b", "c"), ("a", "b", "d"), ("a", "x")]
    assert listed(prefix=("*", "b")) == [("a", "b", "c"), ("a", "b", "d"), ("z", "b", "c")]
    assert listed(suffix=("c",)) == [("a", "b", "c"), ("z", "b", "c")]
    assert listed(suffix=("b", "*")) == [("a", "b", "c"), ("a", "b", "d"), ("z", "b", "c")]
    assert listed(prefix=("a",), suffix=("d",)) == [("a", "b", "d")]
    assert listed(max_depth=1) == [("a",), ("z",)]
    assert listed(max_depth=2, prefix=("a",)) == [("a", "b"), ("a", "x")]
    assert listed(limit=2, offset=1) == [("a", "b", "d"), ("a", "x")]
    store.delete(("z",), "k1")
    store.delete(("z",), "k2")
    assert listed(prefix=("z",)) == [("z", "b", "c")]


def test_a_batch_is_carried_out_in_order(store: BaseStore) -> None:
    results = store.batch(
        [
            PutOp(NS, "k", {"n": 1}),
            GetOp(NS, "k"),
            PutOp(NS, "k", {"n": 2}),
            SearchOp(("users",)),
            PutOp(NS, "k", None),
            GetOp(NS, "k"),
            PutOp(NS, "last", {"n": 3}),
            ListNamespacesOp((MatchCondition("prefix", ("users",)),), max_depth=1),
        ]
    )

    assert results[0] is results[2] is results[4] is results[6] is None
    assert results[1].value == {"n": 1}  # type: ignore[union-attr]
    assert [item.value for item in results[3]] == [{"n": 2}]  # type: ignore[union-attr]
    assert results[5] is None
    assert results[7] == [("users",)]
    assert store.batch([]) == []


def test_a_bad_operation_stops_the_whole_batch(store: BaseStore) -> None:
    with pytest.raises(ConfigError):
        store.batch([PutOp(NS, "k", {"n": 1}), GetOp((), "k")])

    assert store.get(NS, "k") is None


@pytest.mark.parametrize(
    "namespace",
    [
        (),
        ("",),
        ("a", ""),
        ("a.b",),
        ("a", 1),
        "users",
        None,
        ("langgraph", "x"),
        ("durably",),
        ("a\x00",),
        ("\ud800",),
    ],
)
def test_bad_namespaces_are_refused(store: BaseStore, namespace: Any) -> None:
    with pytest.raises(ConfigError, match=r"namespace|label"):
        store.put(namespace, "k", {})
    with pytest.raises(ConfigError):
        store.get(namespace, "k")
    with pytest.raises(ConfigError):
        store.delete(namespace, "k")
    assert store.list_namespaces() == []


@pytest.mark.parametrize("key", ["", None, 3, b"k", "a\x00b", "\udfff"])
def test_bad_keys_are_refused(store: BaseStore, key: Any) -> None:
    for act in (lambda: store.put(NS, key, {}), lambda: store.get(NS, key), lambda: store.delete(NS, key)):
        with pytest.raises(ConfigError, match="key"):
            act()


@pytest.mark.parametrize("value", [None, [1], "text", 3])
def test_values_that_are_no_dicts_are_refused(store: BaseStore, value: Any) -> None:
    with pytest.raises(ConfigError):
        store.put(NS, "k", value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"limit": -1}, {"limit": 1.5}, {"offset": -1}, {"offset": True}, {"query": 3}, {"filter": "a = 1"},
    ],
)  # fmt: skip
def test_bad_searches_are_refused(store: BaseStore, arguments: Any) -> None:
    with pytest.raises(ConfigError):
        store.search(NS, **arguments)


def test_bad_listings_are_refused(store: BaseStore) -> None:
    for arguments in ({"max_depth": 0}, {"limit": -1}, {"prefix": "users"}, {"suffix": ("a.b",)}):
        with pytest.raises(ConfigError):
            store.list_namespaces(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="match type"):
        store.batch([ListNamespacesOp((MatchCondition("infix", ("a",)),))])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not an operation"):
        store.batch(["drop"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE durably_store; --",
        '"',
        "%",
        "_",
        "a_b",
        "\\",
        "*",
        "[x]",
        "é\u0301",
        "\U0001f600",
        " ",
        "\n",
        "?1",
    ],
)
def test_hostile_names_are_names(store: BaseStore, text: str) -> None:
    store.put((text, "x"), text, {"mine": text})
    store.put(("other",), "k", {"mine": text})

    assert store.get((text, "x"), text).value == {"mine": text}  # type: ignore[union-attr]
    assert keys(store.search((text,))) == [text]
    assert store.list_namespaces(suffix=("x",)) == [(text, "x")]
    store.delete((text, "x"), text)
    assert store.get((text, "x"), text) is None
    assert store.get(("other",), "k") is not None


LABELS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00."), min_size=1, max_size=4),
    st.sampled_from(
        ["'", '"', "' or 1=1 --", "%", "%s", "_", "/", "-", "!", "*", "a", "ab", "a/", "a-", "\\", "{}", "é", "~"]
    ),
)
PLACES = st.tuples(st.lists(LABELS, max_size=3).map(tuple), LABELS)
roots = count()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PLACES, min_size=1, max_size=6, unique=True))
def test_names_of_any_kind_are_kept_apart(store: BaseStore, places: list[tuple[tuple[str, ...], str]]) -> None:
    root = f"root {next(roots)}"
    store.batch([PutOp((root, *labels), key, {"key": key}) for labels, key in places])
    items = {((root, *labels), key) for labels, key in places}
    namespaces = {namespace for namespace, _ in items}

    for namespace in namespaces:
        for size in range(1, len(namespace) + 1):
            prefix = namespace[:size]
            found = {(item.namespace, item.key) for item in store.search(prefix, limit=100)}
            assert found == {place for place in items if place[0][:size] == prefix}
            beginning = MatchCondition("prefix", prefix)  # a label "*" finds any, here
            assert store.list_namespaces(prefix=prefix) == sorted(one for one in namespaces if matches(one, beginning))
        ending = MatchCondition("suffix", namespace[1:])
        wanted = sorted(one for one in namespaces if matches(one, ending))
        assert store.list_namespaces(prefix=(root,), suffix=namespace[1:] or None) == wanted
    assert store.list_namespaces(prefix=(root,), max_depth=2) == sorted({one[:2] for one in namespaces})
    for namespace, key in items:
        assert store.get(namespace, key).value == {"key": key}  # type: ignore[union-attr]
        store.delete(namespace, key)
    assert store.search((root,)) == []


def test_threads_write_at_once_and_lose_nothing(store: BaseStore) -> None:
    def work(worker: int) -> None:
        for n in range(40):
            store.put(("w", str(worker)), str(n), {"n": n})
            assert store.get(("w", str(worker)), str(n)) is not None

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, worker) for worker in range(8)]:
            done.result()

    assert len(store.search(("w",), limit=1000)) == 320


def test_once_writes_once_for_each_call_and_item(store: BaseStore, in_call: InCall) -> None:
    in_call("run1", "task.0")
    store.put(NS, "k", {"n": 1}, once=True)
    store.put(NS, "k", {"n": 2}, once=True)
    store.put(NS, "other", {"n": 3}, once=True)
    assert store.get(NS, "k").value == {"n": 1}  # type: ignore[union-attr]
    assert store.get(NS, "other").value == {"n": 3}  # type: ignore[union-attr]

    in_call("run1", "task.1")
    store.put(NS, "k", {"n": 4}, once=True)
    assert store.get(NS, "k").value == {"n": 4}  # type: ignore[union-attr]
    in_call("run1", "task.0")
    store.put(NS, "k", {"n": 5}, once=True)
    assert store.get(NS, "k").value == {"n": 4}, "a late retry must not undo newer work"  # type: ignore[union-attr]
    store.delete(NS, "k")
    store.put(NS, "k", {"n": 6}, once=True)
    assert store.get(NS, "k") is None, "what others deleted must not come back"


def test_once_that_was_refused_can_be_tried_again(store: BaseStore, in_call: InCall) -> None:
    in_call("run1", "c")
    with pytest.raises(EncodeError):
        store.put(NS, "k", {"bad": object()}, once=True)
    store.put(NS, "k", {"n": 1}, once=True)

    assert store.get(NS, "k") is not None


def test_once_needs_a_call(store: BaseStore) -> None:
    with pytest.raises(OutsideRunError, match="once=True"):
        store.put(NS, "k", {}, once=True)
    assert store.get(NS, "k") is None


def test_once_is_remembered_until_a_day_after_the_end_of_the_run(make_store: Any, clock: Any, in_call: InCall) -> None:
    store = make_store(clock=clock)
    day = 24 * 60

    def wrote(run_id: str, call_id: str = "c") -> bool:
        in_call(run_id, call_id)
        store.delete(NS, "k")
        store.put(NS, "k", {}, once=True)
        store.sweep_ttl()
        return store.get(NS, "k") is not None

    assert [wrote(run) for run in ("r", "r2", "q")] == [True] * 3
    assert wrote("r", "d")
    clock.minutes(1000 * day)
    assert [wrote(run) for run in ("r", "r2", "q")] == [False] * 3, "a run may go on after years"
    store.forget_once("r")
    store.forget_once("unknown")
    clock.minutes(day - 1)
    store.forget_once("r")
    assert not wrote("r"), "an attempt that was superseded may still try"
    clock.minutes(2)
    assert not wrote("q")
    assert [wrote(run) for run in ("r", "r2", "q")] == [True, False, False]
    assert wrote("r", "d")
    with pytest.raises(ConfigError, match="run id"):
        store.forget_once("")
