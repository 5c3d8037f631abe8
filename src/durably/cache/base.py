"""The contract of a cache: bytes in, bytes out; whoever calls it encodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import isfinite
from typing import ClassVar

from ..errors import ConfigError

__all__ = ["BaseCache", "checked_bound", "deadline"]


class BaseCache(ABC):
    """Encoded results under a namespace and a key, each for a limited time or for good.

    A cache may forget anything at any moment; it never returns a value that was not set under that very
    namespace and key. Every method may be called from any thread.
    """

    inline: ClassVar[bool] = False
    """Whether a call is so short that it may be made on an event loop, without a thread."""
    waits_to_set: ClassVar[bool] = False
    """Whether `set` is the exception: it may have to wait for another process."""

    @abstractmethod
    def get(self, namespace: str, key: bytes) -> bytes | None:
        """Return the value, or None when there is none or it has expired."""

    @abstractmethod
    def set(self, namespace: str, key: bytes, value: bytes, ttl: float | None = None) -> None:
        """Keep a value, replacing an older one.

        Args:
            namespace: whose results these are, usually one task's.
            key: what tells one result from another.
            value: the encoded result.
            ttl: how long it stays, in seconds; None keeps it until it is cleared or crowded out.

        Raises:
            ConfigError: if `ttl` is not a positive number.
        """

    @abstractmethod
    def clear(self, namespace: str | None = None) -> None:
        """Forget what one namespace holds; without a namespace, everything in this cache."""

    def close(self) -> None:
        """Release connections. The values stay where the cache keeps them."""
        return


def deadline(ttl: float | None, now: float) -> float | None:
    """Return the time at which a value set `now` expires; None when it never does.

    Raises:
        ConfigError: if `ttl` is not a positive, finite number.
    """
    if ttl is None:
        return None
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not isfinite(ttl) or ttl <= 0:
        raise ConfigError(f"ttl is {ttl!r}; give a positive number of seconds, or None to keep the value")
    return now + ttl


def checked_bound(name: str, bound: int) -> int:
    """Return how much a cache may hold.

    Raises:
        ConfigError: if `bound` is not a positive whole number.
    """
    if isinstance(bound, bool) or not isinstance(bound, int) or bound < 1:
        raise ConfigError(f"{name} is {bound!r}; give a positive whole number")
    return bound
