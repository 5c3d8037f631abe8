"""Calls that are waited for together: when enough of them are done, and which."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, Final

from ..errors import GraphBubbleUp

if TYPE_CHECKING:
    from .call import TaskFuture

__all__ = ["FIRST_COMPLETED", "FIRST_EXCEPTION", "Race"]

FIRST_COMPLETED: Final = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION: Final = concurrent.futures.FIRST_EXCEPTION


class Race:
    """Calls that are waited for together. One that asked is not done: others may be before it has its answer.

    Args:
        futures: the calls.
        return_when: when enough is done, as for `concurrent.futures.wait`.
    """

    def __init__(self, futures: list[TaskFuture[Any]], return_when: str) -> None:
        self._futures = futures
        self._return_when = return_when

    def left(self) -> list[TaskFuture[Any]]:
        """What to go on waiting for; nothing where enough is done."""
        return [] if self._is_decided() else [future for future in self._futures if not future.done()]

    def outcome(self) -> list[int]:
        """Which of them are done.

        Raises:
            GraphBubbleUp: not enough, and some have asked: the race goes on when there is an answer.
        """
        asked = (future.failed for future in self._futures if isinstance(future.failed, GraphBubbleUp))
        if not self._is_decided() and (signal := next(asked, None)) is not None:
            raise signal
        return [i for i, future in enumerate(self._futures) if self._is_done(future)]

    def _is_decided(self) -> bool:
        done = [future for future in self._futures if self._is_done(future)]
        if len(done) == len(self._futures):
            return True
        if self._return_when == FIRST_EXCEPTION:
            return any(future.failed is not None for future in done)
        return bool(done) and self._return_when == FIRST_COMPLETED

    def _is_done(self, future: TaskFuture[Any]) -> bool:
        return future.done() and not isinstance(future.failed, GraphBubbleUp)
