from __future__ import annotations

from pathlib import Path

import pytest

from durably.cache.redis import RedisCache
from durably.errors import ConfigError, StorageError

redis = pytest.importorskip("redis")


def test_the_server_itself_forgets_an_expired_value(valkey_socket: str, redis_cache: RedisCache) -> None:
    redis_cache.set("a", b"k", b"v", ttl=1000)
    redis_cache.set("a", b"forever", b"v")

    with redis.Redis.from_url(valkey_socket) as client:
        lives = sorted(client.pttl(key) for key in client.scan_iter(redis_cache._prefix + "*"))
    assert lives[0] == -1
    assert 0 < lives[1] <= 1_000_000


def test_clear_leaves_the_keys_of_others(valkey_socket: str) -> None:
    with redis.Redis.from_url(valkey_socket) as client:
        client.set("t[x]:other", b"1")
        client.set("tx:a:k", b"2")
        cache = RedisCache(client, prefix="t[x]:mine:")
        cache.set("a", b"k", b"v")
        cache.clear()

        assert cache.get("a", b"k") is None
        assert (client.get("t[x]:other"), client.get("tx:a:k")) == (b"1", b"2")
        cache.close()
        assert client.get("t[x]:other") == b"1", "a given client stays open"
        client.delete("t[x]:other", "tx:a:k")


def test_a_server_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    cache = RedisCache(f"unix://{tmp_path}/none.sock")

    with pytest.raises(StorageError, match="could not get"):
        cache.get("a", b"k")
    with pytest.raises(StorageError, match="could not clear"):
        cache.clear()
    cache.close()


def test_clients_that_cannot_serve_are_refused_at_once() -> None:
    import redis.asyncio

    with pytest.raises(ConfigError, match="asynchronous"):
        RedisCache(redis.asyncio.Redis())
    with pytest.raises(ConfigError, match="decode"):
        RedisCache(redis.Redis(decode_responses=True))
    with pytest.raises(ConfigError, match="not a Redis client"):
        RedisCache(object())
    with pytest.raises(ConfigError, match="URL"):
        RedisCache("localhost")
