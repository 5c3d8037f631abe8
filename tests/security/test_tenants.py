"""One tenant's ids do not reach another's rows, and hostile ids, names and conditions are data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import ConfigError, DurablyError, UnknownInterruptError, UsageError
from durably.store.base import BaseStore
from durably.store.memory import InMemoryStore
from durably.store.sqlite import SqliteStore

SAVERS: dict[str, Callable[[], BaseCheckpointer]] = {
    "memory": InMemorySaver,
    "sqlite": partial(SqliteSaver, ":memory:"),
}
STORES: dict[str, Callable[[], BaseStore]] = {"memory": InMemoryStore, "sqlite": partial(SqliteStore, ":memory:")}

HOSTILE = [
    "' or '1'='1", "'; drop table durably_run; --", '"', "\\", "%", "_", "a%", "a_", "*", "a\x1fb", "../../etc/passwd",
    "a:b", "a.b", "a/b", "a~0", "$where", "${jndi:x}", "{{7*7}}", "\u202ea", "ａ", "A", "a ", " a", "0", "-1", "a-0", "a-1",
]  # fmt: skip
names = st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=12).filter(lambda t: "\x00" not in t))


def well_formed(text: str) -> bool:
    return text.encode("utf-8", "replace").decode() == text


ids = names.filter(well_formed)


def shop_on(saver: BaseCheckpointer, name: str = "shop") -> Any:
    @task
    def work(text: str) -> str:
        return text.upper()

    @entrypoint(checkpointer=saver, name=name)
    def shop(text: str, *, previous: str = "") -> str:
        done = previous + work(text).result()
        return done + interrupt("more?") if text == "ask" else done

    return shop


def told(shop: Any, thread_id: str) -> str:
    """All that is known of a thread."""
    return repr([shop.get_state(thread_id=thread_id), *shop.get_state_history(thread_id=thread_id)]) + repr(
        [(run, run.calls()) for run in shop.runs(thread_id)]
    )


@pytest.mark.parametrize("make", SAVERS.values(), ids=SAVERS)
@settings(max_examples=40)
@given(st.lists(ids, min_size=2, max_size=5, unique=True))
def test_threads_of_any_names_are_apart(make: Callable[[], BaseCheckpointer], found: list[str]) -> None:
    with make() as saver:
        shop = shop_on(saver)
        for number, thread_id in enumerate(found):
            assert (
                shop.invoke(f"x{number}", thread_id=thread_id, config={"metadata": {"who": thread_id}}) == f"X{number}"
            )
        for number, thread_id in enumerate(found):
            assert shop.get_state(thread_id=thread_id).values == f"X{number}"
            assert [thread.thread_id for thread in shop.threads(metadata={"who": thread_id})] == [thread_id]
        assert saver.delete_thread(found[0])
        assert [shop.get_state(thread_id=thread_id).values for thread_id in found] == [
            {}, *(f"X{number}" for number in range(1, len(found)))
        ]  # fmt: skip


@pytest.mark.parametrize("make", SAVERS.values(), ids=SAVERS)
def test_addresses_of_another_thread_are_refused(make: Callable[[], BaseCheckpointer]) -> None:
    with make() as saver:
        shop = shop_on(saver)
        shop.invoke("ask", thread_id="theirs")
        question = shop.get_state(thread_id="theirs").interrupts[0].id
        shop.invoke("ask", thread_id="mine")
        before = told(shop, "theirs")
        (run,) = shop.runs("theirs")
        theirs = run.config["configurable"]["checkpoint_id"]
        config = {"configurable": {"thread_id": "mine", "checkpoint_id": theirs}}
        for use in (
            lambda: shop.get_state(config),
            lambda: list(shop.get_state_history(thread_id="mine", before=config)),
            lambda: shop.draw(config),
            lambda: shop.invoke("x", config),
            lambda: shop.invoke(None, config),
            lambda: shop.invoke(Command(resume={question: "yes"}), config),
            lambda: shop.fork(config),
            lambda: shop.update_state(config, "x"),
            lambda: shop.cancel(config),
        ):
            with pytest.raises(ConfigError, match="has no checkpoint"):
                use()
        with pytest.raises(UnknownInterruptError):
            shop.invoke(Command(resume={question: "yes"}), thread_id="mine")
        assert told(shop, "theirs") == before


@pytest.mark.parametrize("make", SAVERS.values(), ids=SAVERS)
@settings(max_examples=25)
@given(names, names)
def test_hostile_addresses_and_keys_are_refused_or_are_only_data(
    make: Callable[[], BaseCheckpointer], address: str, key: str
) -> None:
    with make() as saver:
        shop = shop_on(saver)
        shop.invoke("one", thread_id="theirs")
        before = told(shop, "theirs")
        for config in (
            {"checkpoint_id": address},
            {"checkpoint_id": f"{address}-0"},
            {"checkpoint_id": address, "checkpoint_ns": key},
        ):
            with pytest.raises(UsageError):
                shop.get_state({"configurable": {"thread_id": "mine", **config}})
        assert shop.invoke("two", thread_id="mine", idempotency_key=key) == "TWO"
        assert shop.invoke("two", thread_id="mine", idempotency_key=key) == "TWO", "the run that there is"
        assert shop.invoke("three", thread_id="other", idempotency_key=key) == "THREE", "a key is its thread's own"
        assert saver.delete_for_runs([address, key]) == 0
        assert told(shop, "theirs") == before


@pytest.mark.parametrize("make", SAVERS.values(), ids=SAVERS)
@settings(max_examples=30)
@given(ids.filter(lambda name: name != "interrupt"), ids)
def test_tasks_and_workflows_of_any_name(make: Callable[[], BaseCheckpointer], task_name: str, workflow: str) -> None:
    @task(name=task_name)
    def inner(n: int) -> int:
        made.append(n)
        return n + 1

    made: list[int] = []
    with make() as saver:

        @entrypoint(checkpointer=saver, name=workflow)
        def outer(n: int) -> int:
            return inner(n).result() + interrupt("go on?")

        outer.invoke(1, thread_id="a")
        assert outer.invoke(Command(resume=5), thread_id="a") == 7
        assert made == [1], "its record was found again"
        assert [call.name for call in outer.runs("a")[0].calls()] == [task_name, "interrupt", "interrupt"]


# The store.

labels = ids.filter(lambda label: "." not in label and label not in ("durably", "langgraph"))
namespaces = st.lists(labels, min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
@settings(max_examples=40)
@given(st.lists(st.tuples(namespaces, ids), min_size=1, max_size=5, unique=True), namespaces)
def test_a_search_finds_what_lies_under_its_namespace(
    make: Callable[[], BaseStore], items: list[tuple[tuple[str, ...], str]], prefix: tuple[str, ...]
) -> None:
    store = make()
    for number, (namespace, key) in enumerate(items):
        store.put(namespace, key, {"n": number, "key": key})
    found = {(item.namespace, item.key) for item in store.search(prefix, limit=100)}
    assert found == {(namespace, key) for namespace, key in items if namespace[: len(prefix)] == prefix}
    for number, (namespace, key) in enumerate(items):
        item = store.get(namespace, key)
        assert item is not None and item.value["n"] == number
        assert key in {hit.value["key"] for hit in store.search(namespace, filter={"key": key}, limit=100)}
        assert all(hit.value["key"] == key for hit in store.search(namespace, filter={"key": key}, limit=100))
    assert store.get(prefix, "nobody's key") is None


@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
@settings(max_examples=60)
@given(
    names,
    st.one_of(
        names, st.dictionaries(st.one_of(st.sampled_from(["$eq", "$ne", "$gt", "$in"]), names), names, max_size=2)
    ),
)
def test_filters_are_only_conditions(make: Callable[[], BaseStore], field: str, condition: Any) -> None:
    store = make()
    store.put(("theirs",), "k", {"secret": 1, field: "x"})
    store.put(("mine",), "k", {"a": 1})
    try:
        found = store.search(("mine",), filter={field: condition})
    except DurablyError:
        found = []
    assert {item.namespace for item in found} <= {("mine",)}
    assert store.get(("theirs",), "k") is not None


def test_a_database_file_is_named_by_the_program_alone(tmp_path: Path) -> None:
    with SqliteSaver(tmp_path / "runs.db") as saver:
        for thread_id in HOSTILE:
            shop_on(saver).invoke("x", thread_id=thread_id)
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"runs"}
