"""What every cache promises, on every backend."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durably.cache.base import BaseCache
from durably.errors import ConfigError


def test_what_was_set_is_found_under_its_own_namespace_and_key_only(cache: BaseCache) -> None:
    cache.set("a", b"k", b"1")
    cache.set("b", b"k", b"2")
    cache.set("a", b"k2", b"3")

    assert cache.get("a", b"k") == b"1"
    assert cache.get("b", b"k") == b"2"
    assert cache.get("a", b"k2") == b"3"
    assert cache.get("c", b"k") is None
    assert cache.get("a", b"") is None


def test_an_empty_value_is_a_value(cache: BaseCache) -> None:
    cache.set("a", b"", b"")

    assert cache.get("a", b"") == b""


def test_setting_again_replaces_value_and_ttl(cache: BaseCache) -> None:
    cache.set("a", b"k", b"old", ttl=0.001)
    cache.set("a", b"k", b"new")
    time.sleep(0.01)

    assert cache.get("a", b"k") == b"new"


def test_a_value_expires(cache: BaseCache) -> None:
    cache.set("a", b"short", b"1", ttl=0.001)
    cache.set("a", b"long", b"2", ttl=1000)
    time.sleep(0.02)

    assert cache.get("a", b"short") is None
    assert cache.get("a", b"long") == b"2"


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "60"])
def test_a_ttl_that_is_no_duration_is_refused(cache: BaseCache, ttl: float) -> None:
    with pytest.raises(ConfigError, match="ttl"):
        cache.set("a", b"k", b"1", ttl=ttl)

    assert cache.get("a", b"k") is None


def test_clear_forgets_one_namespace_or_all(cache: BaseCache) -> None:
    for namespace in ("a", "a:b", "a*", "ab"):
        cache.set(namespace, b"k", namespace.encode())

    cache.clear("a")
    assert [cache.get(n, b"k") for n in ("a", "a:b", "a*", "ab")] == [None, b"a:b", b"a*", b"ab"]
    cache.clear("a*")
    assert [cache.get(n, b"k") for n in ("a:b", "a*", "ab")] == [b"a:b", None, b"ab"]
    cache.clear()
    assert [cache.get(n, b"k") for n in ("a:b", "ab")] == [None, None]


def test_clear_forgets_more_than_one_batch(cache: BaseCache) -> None:
    for n in range(1203):
        cache.set("a", b"%d" % n, b"v")
    cache.set("b", b"k", b"v")

    cache.clear("a")

    assert not any(cache.get("a", b"%d" % n) for n in range(1203))
    assert cache.get("b", b"k") == b"v"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8), st.binary(max_size=8)), max_size=8))
def test_hostile_names_and_bytes_never_mix(cache: BaseCache, entries: list[tuple[str, bytes, bytes]]) -> None:
    cache.clear()
    model: dict[tuple[str, bytes], bytes] = {}
    for namespace, key, value in entries:
        cache.set(namespace, key, value)
        model[namespace, key] = value

    assert {place: cache.get(*place) for place in model} == model
    for namespace in {namespace for namespace, _ in model}:
        cache.clear(namespace)
        model = {place: value for place, value in model.items() if place[0] != namespace}
        assert {place: cache.get(*place) for place in model} == model
        assert all(cache.get(n, k) is None for n, k, _ in entries if n == namespace)


def test_threads_share_a_cache(cache: BaseCache) -> None:
    def work(worker: int) -> None:
        for n in range(100):
            cache.set(f"w{worker}", b"%d" % n, b"%d.%d" % (worker, n))
            cache.set("shared", b"k", b"%d" % worker)
            assert cache.get("shared", b"k") is not None

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, worker) for worker in range(8)]:
            done.result()

    for worker in range(8):
        assert [cache.get(f"w{worker}", b"%d" % n) for n in range(100)] == [b"%d.%d" % (worker, n) for n in range(100)]
