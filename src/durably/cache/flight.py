"""One computation for many callers that miss the same key at once."""

from __future__ import annotations

from concurrent.futures import Future
from threading import RLock
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Lead", "SingleFlight"]


class SingleFlight:
    """Remembers which keys are being computed in this process. It never waits itself.

    The first caller that begins a key gets a `Lead` and computes. Whoever begins the same key meanwhile gets
    a future: it resolves to the value, or to None when the lead gave up, and then the caller begins again.
    Threads wait on it with ``result()``, coroutines with `asyncio.wrap_future`; cancelling a waiter does not
    cancel the computation.

    A caller looks in the cache, begins, and when it is given the lead looks in the cache once more: an
    earlier lead may have landed in between. A lead puts the value into the cache before it finishes.

    >>> flights = SingleFlight()
    >>> lead = flights.begin("square", b"7")
    >>> waiting = flights.begin("square", b"7")
    >>> with lead:
    ...     lead.finish(b"49")
    >>> waiting.result()
    b'49'
    """

    def __init__(self) -> None:
        # Re-entrant: the garbage collector may drop another lead while this thread holds the lock.
        self._lock = RLock()
        self._flying: dict[tuple[str, bytes], Future[bytes | None]] = {}

    def begin(self, namespace: str, key: bytes) -> Lead | Future[bytes | None]:
        """Return the lead for this key, or the future of whoever has it."""
        place = (namespace, key)
        with self._lock:
            flying = self._flying.get(place)
            if flying is not None:
                return flying
            landing: Future[bytes | None] = Future()
            # A running future refuses cancel(), so that one waiter that leaves takes nobody with it.
            landing.set_running_or_notify_cancel()
            self._flying[place] = landing
        return Lead(self, place, landing)

    @property
    def size(self) -> int:
        """How many keys are being computed."""
        return len(self._flying)

    def _land(self, place: tuple[str, bytes], landing: Future[bytes | None], value: bytes | None) -> None:
        with self._lock:
            if self._flying.get(place) is not landing:
                return
            del self._flying[place]
        landing.set_result(value)


class Lead:
    """The duty to compute one key: finish it, or abandon it, which the end of its ``with`` block does."""

    __slots__ = ("_flights", "_landing", "_place")

    def __init__(self, flights: SingleFlight, place: tuple[str, bytes], landing: Future[bytes | None]) -> None:
        self._flights = flights
        self._place = place
        self._landing = landing

    def finish(self, value: bytes) -> None:
        """Hand the value to everyone who waits. After the first `finish` or `abandon` this does nothing."""
        self._flights._land(self._place, self._landing, value)

    def abandon(self) -> None:
        """Give up, so that one of those who wait takes over. A failure is never shared."""
        self._flights._land(self._place, self._landing, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def __del__(self) -> None:
        # A lead that was dropped unfinished would leave the others waiting for ever.
        self.abandon()
