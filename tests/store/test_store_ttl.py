"""How long items live, on every backend."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from durably.errors import ConfigError
from durably.store.base import PutOp

NS = ("users", "ada")


def alive(store: Any, key: str = "k") -> bool:
    """Whether the item is there, without starting its time anew."""
    return store.get(NS, key, refresh_ttl=False) is not None


def test_an_item_expires_after_its_minutes(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock)
    store.put(NS, "k", {}, ttl=2)
    store.put(NS, "forever", {})
    clock.minutes(1.99)
    assert alive(store)
    clock.minutes(0.02)

    assert not alive(store)
    assert [item.key for item in store.search(NS)] == ["forever"]
    assert alive(store, "forever")


def test_the_store_sets_a_default_that_a_put_may_change(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock, ttl={"default_ttl": 10})
    store.put(NS, "default", {})
    store.put(NS, "short", {}, ttl=1)
    store.put(NS, "forever", {}, ttl=None)
    clock.minutes(5)
    assert [alive(store, key) for key in ("default", "short", "forever")] == [True, False, True]
    clock.minutes(6)
    assert [alive(store, key) for key in ("default", "forever")] == [False, True]


def test_reading_starts_the_time_anew(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock)
    for key in ("got", "found", "quiet"):
        store.put(NS, key, {"key": key}, ttl=10)
    for _ in range(3):
        clock.minutes(8)
        assert store.get(NS, "got") is not None
        assert [item.key for item in store.search(NS, filter={"key": "found"})] == ["found"]

    assert [alive(store, key) for key in ("got", "found", "quiet")] == [True, True, False]
    clock.minutes(11)
    assert [alive(store, key) for key in ("got", "found")] == [False, False]


def test_reading_in_a_batch_that_writes_starts_the_time_anew_too(make_store: Any, clock: Any) -> None:
    from durably.store.base import GetOp

    store = make_store(clock=clock)
    store.put(NS, "k", {}, ttl=10)
    clock.minutes(8)
    store.batch([GetOp(NS, "k"), PutOp(NS, "other", {})])
    clock.minutes(8)

    assert alive(store)


def test_only_what_a_search_returns_is_refreshed(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock)
    for n in range(4):
        store.put(NS, str(n), {"n": n}, ttl=10)
    clock.minutes(8)
    assert [item.key for item in store.search(NS, limit=1, offset=1)] == ["2"]
    clock.minutes(8)

    assert [alive(store, str(n)) for n in range(4)] == [False, False, True, False]


def test_refreshing_can_be_off_for_the_store_or_one_read(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock, ttl={"refresh_on_read": False})
    store.put(NS, "k", {}, ttl=10)
    clock.minutes(8)
    assert store.get(NS, "k") is not None
    assert store.search(NS)
    clock.minutes(3)
    assert not alive(store)

    store.put(NS, "k", {}, ttl=10)
    clock.minutes(8)
    assert store.get(NS, "k", refresh_ttl=True) is not None
    clock.minutes(8)
    assert alive(store)


def test_an_expired_item_that_is_put_again_is_a_new_one(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock)
    store.put(NS, "k", {"n": 1}, ttl=1)
    first = store.get(NS, "k")
    clock.minutes(5)
    store.put(NS, "k", {"n": 2})
    second = store.get(NS, "k")

    assert second.created_at > first.created_at
    clock.minutes(1000)
    assert alive(store), "the old ttl must not stay"


def test_namespaces_of_expired_items_are_not_listed(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock)
    store.put(("a",), "k", {}, ttl=1)
    store.put(("b",), "k", {}, ttl=5)
    clock.minutes(2)

    assert store.list_namespaces() == [("b",)]


def test_a_sweep_deletes_what_has_expired(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock, ttl={"omit_expired": False})
    for n in range(2500):
        store.put(NS, str(n), {}, ttl=1 if n < 2300 else None)
    clock.minutes(2)
    assert alive(store, "0"), "omit_expired is off: it is seen until it is swept"

    assert store.sweep_ttl() == 2300
    assert len(store.search(NS, limit=5000)) == 200
    assert store.sweep_ttl() == 0


def test_writes_sweep_in_passing_at_the_set_interval(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock, ttl={"omit_expired": False, "sweep_interval_minutes": 30})
    store.put(NS, "k", {}, ttl=1)
    clock.minutes(29)
    store.put(NS, "other", {})
    assert alive(store)
    clock.minutes(2)
    store.put(NS, "other", {})

    assert not alive(store)


def test_expired_items_are_not_found_by_meaning(make_store: Any, clock: Any, letters: Any) -> None:
    store = make_store(clock=clock, index={"dims": 26, "embed": letters})
    store.put(NS, "gone", {"text": "tea"}, ttl=1)
    store.put(NS, "here", {"text": "ate it"})
    clock.minutes(2)

    assert [item.key for item in store.search(NS, query="tea")] == ["here"]
    assert store.sweep_ttl() == 1
    assert [item.key for item in store.search(NS, query="tea")] == ["here"]


def test_a_sweeper_deletes_in_the_background_until_stopped(make_store: Any, clock: Any) -> None:
    store = make_store(clock=clock, ttl={"omit_expired": False})
    store.put(NS, "k", {}, ttl=1)
    store.put(NS, "forever", {})
    clock.minutes(2)
    store.start_ttl_sweeper(sweep_interval_minutes=0.0005)
    store.start_ttl_sweeper(sweep_interval_minutes=0.0005)
    for _ in range(3000):
        if not alive(store):
            break
        time.sleep(0.01)

    assert not alive(store)
    assert alive(store, "forever")
    assert store.stop_ttl_sweeper(timeout=30)
    assert store.stop_ttl_sweeper()
    assert not [one for one in threading.enumerate() if one.name == "durably-store-sweeper"]


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_ttl_that_is_no_duration_is_refused(make_store: Any, ttl: Any) -> None:
    store = make_store()
    with pytest.raises(ConfigError, match="ttl"):
        store.put(NS, "k", {}, ttl=ttl)
    with pytest.raises(ConfigError, match="ttl"):
        store.batch([PutOp(NS, "k", {}, None, ttl)])
    with pytest.raises(ConfigError):
        make_store(ttl={"default_ttl": ttl})


def test_an_unknown_entry_of_the_configuration_is_refused(make_store: Any) -> None:
    with pytest.raises(ConfigError, match="default_tll"):
        make_store(ttl={"default_tll": 5})
