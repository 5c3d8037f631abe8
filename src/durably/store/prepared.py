"""What all stores do before they touch their database: check, encode, embed; and expiry, in passing and on a clock."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, DecodeError
from ..serde import TypedSerializer
from .base import BaseStore
from .embed import Embedder, Vectors
from .ops import IndexConfig, Op, Result, TTLConfig
from .plan import Planned, place, plan, seconds, to_embed
from .rows import Row
from .sweeper import Sweeper
from .vectors import numpy

if TYPE_CHECKING:
    from ..serde.base import Serializer

__all__ = ["ONCE_SECONDS", "SWEEP_ROWS", "PreparedStore"]

SWEEP_ROWS = 1000
"""Expired rows that a write deletes in passing at most."""
SWEEP_MINUTES = 5.0
ONCE_SECONDS = 24 * 60 * 60.0
"""How long after the end of a run its writes that were made once are remembered."""


class PreparedStore(BaseStore):
    """A store whose subclass is handed operations that are checked, encoded and embedded."""

    supports_ttl = True

    def __init__(
        self,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        serde: Serializer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.index_config = index
        self.ttl_config = ttl
        self._omit_expired, self._sweep_every = checked_ttl(ttl or {})
        self._serde: Serializer = TypedSerializer() if serde is None else serde
        self._clock = clock
        self._embedder = None
        if index is not None:
            numpy()
            self._embedder = Embedder(index)
        self._next_sweep = clock()
        self._sweeper: Sweeper | None = None

    @abstractmethod
    def _apply(self, plans: list[Planned], vectors: Vectors) -> list[Result]:
        """Carry the operations out, all in one transaction."""

    @abstractmethod
    def _sweep(self, now: float) -> tuple[int, int]:
        """Delete at most `SWEEP_ROWS` expired items, and claims that are over; return how many of each."""

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        plans = plan(ops, self._serde, self._embedder)
        wanted = to_embed(plans)
        vectors = self._embedder.embed(wanted) if self._embedder is not None and wanted else NO_VECTORS
        return self._apply(plans, vectors)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        plans = plan(ops, self._serde, self._embedder)
        wanted = to_embed(plans)
        vectors = NO_VECTORS
        if self._embedder is not None and wanted:
            vectors = await self._embedder.aembed(wanted)
        if self.inline and not wanted:
            return self._apply(plans, vectors)
        import asyncio

        return await asyncio.to_thread(self._apply, plans, vectors)

    def sweep_ttl(self) -> int:
        """Delete every expired item now, and return how many there were. Writes also do this in passing."""
        swept = 0
        while True:
            found, claims = self._sweep(self._clock())
            swept += found
            if max(found, claims) < SWEEP_ROWS:
                return swept

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> None:
        """Also delete expired items in the background, now and at an interval.

        Args:
            sweep_interval_minutes: the interval; None takes the one the store is set to.
        """
        every = seconds(sweep_interval_minutes) or self._sweep_every
        self.stop_ttl_sweeper()
        self._sweeper = Sweeper(self.sweep_ttl, every)
        self._sweeper.start()

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop the background sweeps; returns whether they have ended within `timeout` seconds."""
        sweeper, self._sweeper = self._sweeper, None
        return sweeper is None or sweeper.stop(timeout)

    def _swept(self, now: float, *counts: int) -> None:
        """Note that a write has swept so many rows in passing; where that was all it could, the next one goes on."""
        self._next_sweep = now if max(counts) >= SWEEP_ROWS else now + self._sweep_every

    def _value(self, row: Row) -> dict[str, Any]:
        value: dict[str, Any] = self._serde.loads(row.data, place(row.namespace, row.key))
        return value

    def _fields(self, row: Row, value: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "namespace": row.namespace,
            "key": row.key,
            "value": self._value(row) if value is None else value,
            "created_at": moment(row.created, row),
            "updated_at": moment(row.updated, row),
        }


def moment(seconds: float, row: Row) -> datetime:
    """A time since the epoch, as people write it.

    Raises:
        DecodeError: there is none such in the calendar.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise DecodeError(
            f"the times of item {row.key!r} in {row.namespace!r} are damaged: {error}. Put it again, or delete it."
        ) from None


NO_VECTORS = Vectors({}, {})


def checked_ttl(config: TTLConfig) -> tuple[bool, float]:
    """Return whether expired items are hidden, and the seconds between two sweeps.

    Raises:
        ConfigError: if the configuration cannot be.
    """
    for name in config:
        if name not in TTLConfig.__annotations__:
            raise ConfigError(f"the ttl configuration has the unknown entry {name!r}")
    seconds(config.get("default_ttl"))
    every = seconds(config.get("sweep_interval_minutes") or SWEEP_MINUTES)
    return bool(config.get("omit_expired", True)), every or 0.0
