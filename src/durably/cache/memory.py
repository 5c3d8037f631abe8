"""A cache in this process's memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from .base import BaseCache, checked_bound, deadline

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["InMemoryCache"]

ENTRY_OVERHEAD = 250
"""Bytes that an entry costs beside its key and value: the tuples, the dict slot, the object headers."""


class Entry(NamedTuple):
    value: bytes
    expires: float | None


class InMemoryCache(BaseCache):
    """Keeps results in memory; when it is full, the least recently used one goes.

    Args:
        max_entries: how many results it holds at most.
        max_bytes: how much memory they take at most, overhead included. A single larger value is not kept.
        clock: returns the time in seconds; it must not run backwards.

    Raises:
        ConfigError: if a bound is not a positive whole number.

    >>> cache = InMemoryCache(max_entries=2)
    >>> for name in (b"a", b"b", b"c"):
    ...     cache.set("letters", name, name.upper())
    >>> cache.get("letters", b"a"), cache.get("letters", b"c")
    (None, b'C')
    """

    inline: ClassVar[bool] = True

    def __init__(
        self,
        *,
        max_entries: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_entries = checked_bound("max_entries", max_entries)
        self.max_bytes = checked_bound("max_bytes", max_bytes)
        self._clock = clock
        self._entries: OrderedDict[tuple[str, bytes], Entry] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, namespace: str, key: bytes) -> bytes | None:
        place = (namespace, key)
        with self._lock:
            entry = self._entries.get(place)
            if entry is None:
                return None
            if entry.expires is not None and entry.expires <= self._clock():
                self._drop(place)
                return None
            self._entries.move_to_end(place)
            return entry.value

    def set(self, namespace: str, key: bytes, value: bytes, ttl: float | None = None) -> None:
        expires = deadline(ttl, self._clock())
        place = (namespace, key)
        with self._lock:
            if place in self._entries:
                self._drop(place)
            size = cost(place, value)
            if size > self.max_bytes:
                return
            self._entries[place] = Entry(value, expires)
            self._bytes += size
            while len(self._entries) > self.max_entries or self._bytes > self.max_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self, namespace: str | None = None) -> None:
        with self._lock:
            if namespace is None:
                self._entries.clear()
                self._bytes = 0
                return
            for place in [place for place in self._entries if place[0] == namespace]:
                self._drop(place)

    @property
    def size(self) -> int:
        """How many results it holds, expired ones that nobody asked for included."""
        return len(self._entries)

    def _drop(self, place: tuple[str, bytes]) -> None:
        self._bytes -= cost(place, self._entries.pop(place).value)


def cost(place: tuple[str, bytes], value: bytes) -> int:
    """Return about how many bytes of memory an entry takes."""
    return len(place[0]) + len(place[1]) + len(value) + ENTRY_OVERHEAD
