from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from durably.cache.memory import ENTRY_OVERHEAD, InMemoryCache
from durably.errors import ConfigError


def test_the_least_recently_used_goes_first() -> None:
    cache = InMemoryCache(max_entries=2)
    cache.set("a", b"1", b"x")
    cache.set("a", b"2", b"x")
    cache.get("a", b"1")
    cache.set("a", b"3", b"x")

    assert cache.get("a", b"2") is None
    assert cache.get("a", b"1") == cache.get("a", b"3") == b"x"
    assert cache.size == 2


def test_memory_is_bounded() -> None:
    cache = InMemoryCache(max_bytes=10 * (ENTRY_OVERHEAD + 1000))
    for n in range(100):
        cache.set("a", b"%d" % n, b"x" * 900)

    assert 9 <= cache.size <= 11
    assert cache.get("a", b"99") is not None


def test_a_value_larger_than_the_whole_cache_is_not_kept_and_evicts_nothing() -> None:
    cache = InMemoryCache(max_bytes=10_000)
    cache.set("a", b"small", b"x")
    cache.set("a", b"big", b"x")
    cache.set("a", b"big", b"x" * 20_000)

    assert cache.get("a", b"small") == b"x"
    assert cache.get("a", b"big") is None, "the value that was replaced must not come back"


def test_space_is_given_back() -> None:
    cache = InMemoryCache(max_bytes=3 * (ENTRY_OVERHEAD + 1010))
    for _ in range(50):
        cache.set("a", b"k", b"x" * 1000)
        cache.set("b", b"k", b"x" * 1000)
        cache.clear("b")
    cache.clear()
    cache.set("a", b"1", b"x" * 1000)
    cache.set("a", b"2", b"x" * 1000)
    cache.set("a", b"3", b"x" * 1000)

    assert [cache.get("a", k) is not None for k in (b"1", b"2", b"3")] == [True, True, True]


def test_expiry_is_exact_and_frees_the_entry(clock: Any) -> None:
    cache = InMemoryCache(clock=clock)
    cache.set("a", b"k", b"x", ttl=10)
    clock.now += 9.999
    assert cache.get("a", b"k") == b"x"
    clock.now += 0.001
    assert cache.get("a", b"k") is None
    assert cache.size == 0


@pytest.mark.parametrize("bound", [0, -1, 1.5, True])
def test_bounds_are_checked(bound: int) -> None:
    with pytest.raises(ConfigError, match="max_entries"):
        InMemoryCache(max_entries=bound)
    with pytest.raises(ConfigError, match="max_bytes"):
        InMemoryCache(max_bytes=bound)


def test_eviction_by_many_threads_keeps_the_bounds_and_the_count() -> None:
    cache = InMemoryCache(max_entries=50)

    def work(worker: int) -> None:
        for n in range(500):
            cache.set("a", b"%d" % ((worker * 7 + n) % 90), b"v" * (n % 13))
            cache.get("a", b"%d" % (n % 90))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, worker) for worker in range(8)]:
            done.result()

    assert cache.size == 50
    cache.clear("a")
    assert (cache.size, cache._bytes) == (0, 0)
