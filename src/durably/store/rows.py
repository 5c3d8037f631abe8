"""What a backend that is searched by scanning must be able to do: rows in, rows out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Namespace", "Row", "Rows", "VectorRow", "Write"]

Namespace = tuple[str, ...]
VectorRow = tuple[int, int, bytes]
"""The id of a vector, which only grows, the id of its item, and its float32 numbers."""


class Row(NamedTuple):
    """One stored item. Times are seconds since the epoch; ``expires`` is None for an item that stays."""

    id: int
    namespace: Namespace
    key: str
    data: bytes
    created: float
    updated: float
    expires: float | None

    def is_live(self, now: float) -> bool:
        """Return whether the item has not expired."""
        return self.expires is None or self.expires > now


@dataclass(frozen=True, slots=True)
class Write:
    """One item to store, with the vectors that replace its older ones."""

    namespace: Namespace
    key: str
    data: bytes
    ttl: float | None
    vectors: tuple[bytes, ...]


class Rows(ABC):
    """The rows of a store, as one transaction sees and changes them."""

    @abstractmethod
    def find(self, namespace: Namespace, key: str) -> Row | None:
        """Return the row at a namespace and key."""

    @abstractmethod
    def fetch(self, ids: Sequence[int]) -> dict[int, Row]:
        """Return the rows with these ids, of which there are at most 500."""

    @abstractmethod
    def recent(self, prefix: Namespace, live_at: float | None, limit: int | None) -> Sequence[int]:
        """Return the ids of rows under a prefix, updated last first.

        Args:
            prefix: what the namespaces begin with.
            live_at: leave out rows that have expired at this time.
            limit: how many to return at most.
        """

    @abstractmethod
    def write(self, write: Write, now: float) -> None:
        """Store an item; one that replaces a live one keeps its time of creation."""

    @abstractmethod
    def delete(self, namespace: Namespace, key: str) -> None:
        """Delete the row at a namespace and key and its vectors."""

    @abstractmethod
    def touch(self, ids: Iterable[int], now: float) -> None:
        """Start the time of these rows anew, of those that have one."""

    @abstractmethod
    def sweep(self, now: float, limit: int) -> int:
        """Delete at most so many expired rows, and return how many."""

    @abstractmethod
    def namespaces(self, live_at: float | None) -> Iterable[Namespace]:
        """Return every namespace that holds a row; with `live_at`, one that has not expired then."""

    @abstractmethod
    def claim(self, once_key: str, now: float) -> bool:
        """Return whether this is the first claim of this name."""

    @abstractmethod
    def release(self, run_id: str, expires: float) -> None:
        """Let the claims of a run go at that time: those whose names begin with its id and a slash."""

    @abstractmethod
    def sweep_claims(self, now: float, limit: int) -> int:
        """Delete at most so many claims whose time has come, and return how many."""

    @abstractmethod
    def changes(self) -> tuple[int, int]:
        """Return how many vectors have ever been added and deleted."""

    @abstractmethod
    def vector_ids(self, prefix: Namespace) -> list[int]:
        """Return the ids of the vectors under a prefix, ascending; ids only grow."""

    @abstractmethod
    def vectors(self, prefix: Namespace, after: int) -> Sequence[VectorRow]:
        """Return the vectors under a prefix whose id is greater than `after`, ascending by id."""
