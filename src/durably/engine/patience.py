"""How long is waited for a database that is locked or away, and what is said when that was not long enough."""

from __future__ import annotations

import time

from ..checkpoint.base import Away, BaseCheckpointer, Busy
from ..errors import DatabaseLocked, DatabaseUnavailable
from .steps import Pause

__all__ = ["Patience"]


class Patience:
    """How long is waited for a database that is locked, and for how long in between."""

    __slots__ = ("_checkpointer", "_end", "_seconds")

    def __init__(self, checkpointer: BaseCheckpointer) -> None:
        self._checkpointer = checkpointer
        self._end = 0.0
        self._seconds = 0.0

    @property
    def pause(self) -> Pause:
        """What to wait for before the next try."""
        return Pause(self._seconds)

    def spent(self, busy: Busy) -> DatabaseLocked | DatabaseUnavailable | None:
        """Pause longer from now on; or the error with which to give up."""
        self._end = self._end or time.monotonic() + self._checkpointer.patience
        self._seconds = min(0.25 if isinstance(busy, Away) else 0.05, self._seconds * 2 or 0.0005)
        return _locked(busy, self._checkpointer) if time.monotonic() > self._end else None


def _locked(busy: Busy, checkpointer: BaseCheckpointer) -> DatabaseLocked | DatabaseUnavailable:
    stayed = f"{busy}; it stayed so for {checkpointer.patience:g} seconds"
    resume = "Nothing recorded so far is lost; resume with invoke(None, config)."
    if isinstance(busy, Away):
        return DatabaseUnavailable(f"{stayed}. Bring the server back, or allow more with reconnect_for=. {resume}")
    return DatabaseLocked(f"{stayed}. Find the process that holds it, or allow more with patience=. {resume}")
