"""A cache in Redis or Valkey, shared by the processes of many machines."""

from __future__ import annotations

from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from ..errors import ConfigError, StorageError
from .base import BaseCache, deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RedisCache"]

DELETE_AT_ONCE = 500


class RedisCache(BaseCache):
    """Keeps results in a Redis or Valkey server, which forgets them itself when they expire.

    Args:
        redis: a URL such as ``"redis://localhost:6379/0"``, or a synchronous client of redis-py or valkey-py
            that does not decode responses; a given client stays yours to close.
        prefix: what every key of this cache begins with, so that others can use the same server.

    Raises:
        ConfigError: if the client is asynchronous or decodes responses, or redis-py is not installed.
        StorageError: from each method, if the server cannot be reached or refuses.
    """

    inline: ClassVar[bool] = False

    def __init__(self, redis: Any, *, prefix: str = "durably:cache:") -> None:
        self._owned = isinstance(redis, str)
        self._client: Any = connect(redis) if isinstance(redis, str) else checked(redis)
        self._prefix = prefix

    def get(self, namespace: str, key: bytes) -> bytes | None:
        with answering("get"):
            value: bytes | None = self._client.get(self._name(namespace) + key)
        return value

    def set(self, namespace: str, key: bytes, value: bytes, ttl: float | None = None) -> None:
        seconds = deadline(ttl, 0.0)
        with answering("set"):
            milliseconds = None if seconds is None else max(1, ceil(seconds * 1000))
            self._client.set(self._name(namespace) + key, value, px=milliseconds)

    def clear(self, namespace: str | None = None) -> None:
        start = self._prefix.encode() if namespace is None else self._name(namespace)
        with answering("clear"):
            found: list[bytes] = []
            for name in self._client.scan_iter(match=literal(start) + b"*", count=DELETE_AT_ONCE):
                found.append(name)
                if len(found) == DELETE_AT_ONCE:
                    self._client.unlink(*found)
                    found.clear()
            if found:
                self._client.unlink(*found)

    def close(self) -> None:
        if self._owned:
            self._client.close()

    def _name(self, namespace: str) -> bytes:
        # Quoted, a namespace holds no colon: no other namespace's keys begin with it.
        return self._prefix.encode() + quote(namespace, safe="", errors="surrogatepass").encode() + b":"


def connect(url: str) -> Any:
    """Return a client for the server at a URL."""
    try:
        from redis import Redis
    except ImportError as error:
        raise ConfigError("RedisCache needs redis-py: pip install 'durably[redis]'") from error
    try:
        return Redis.from_url(url)
    except ValueError as error:
        raise ConfigError(f"{url!r} is not the URL of a Redis server: {error}") from error


def checked(client: Any) -> Any:
    """Return the client if this cache can use it."""
    if ".asyncio" in type(client).__module__:
        raise ConfigError(
            f"{type(client).__module__}.{type(client).__qualname__} is an asynchronous client; give "
            f"RedisCache a synchronous one: async workflows call it in a thread"
        )
    if not hasattr(client, "scan_iter"):
        raise ConfigError(f"{client!r} is not a Redis client; give a URL or a redis.Redis")
    pool = getattr(client, "connection_pool", None)
    if getattr(pool, "connection_kwargs", {}).get("decode_responses"):
        raise ConfigError("the Redis client decodes responses, but results are bytes; drop decode_responses=True")
    return client


@contextmanager
def answering(action: str) -> Iterator[None]:
    """Turn what a client raises into the error of this library."""
    try:
        yield
    except Exception as error:
        raise StorageError(
            f"the Redis cache could not {action}: {type(error).__name__}: {error}; is the server up?"
        ) from error


def literal(text: bytes) -> bytes:
    """Return a glob pattern that matches exactly this text."""
    special = b"\\*?[]^"
    return b"".join(b"\\" + bytes([byte]) if byte in special else bytes([byte]) for byte in text)
