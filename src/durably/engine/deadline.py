"""How long an async body may take, in all and without a sign of life."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import NodeTimeoutError
from ..types import TimeoutPolicy

if TYPE_CHECKING:
    from .call import TaskFuture

__all__ = ["Deadline"]

T = TypeVar("T")


class Deadline:
    """Enforces a `TimeoutPolicy` on one attempt of a body."""

    def __init__(self, policy: TimeoutPolicy, body: TaskFuture[Any]) -> None:
        self._policy = policy
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._last_sign = self._loop.time()
        self._idle = False
        self._timer: asyncio.TimerHandle | None = None

    async def limit(self, awaitable: Awaitable[T]) -> T:
        """Await it, for as long as the policy allows.

        Raises:
            NodeTimeoutError: it took longer; the body was cancelled.
        """
        limit = asyncio.timeout(self._policy.run_seconds)
        try:
            with self._body.run.naps.armed():
                async with limit:
                    self._watch(limit)
                    self._body.beat = self._beat
                    self._body.run.timed = True
                    return await awaitable
        except TimeoutError:
            if not limit.expired():
                raise
            raise NodeTimeoutError(self._explain()) from None
        finally:
            self._body.beat = None
            if self._timer is not None:
                self._timer.cancel()

    def _beat(self) -> None:
        self._last_sign = self._loop.time()

    def _watch(self, limit: asyncio.Timeout) -> None:
        """Look again when the silence would become too long; one timer, however often the body gives a sign."""
        seconds = self._policy.idle_seconds
        if seconds is None:
            return

        def look() -> None:
            left = self._last_sign + seconds - self._loop.time()
            if left <= 0:
                self._idle = True
                limit.reschedule(self._loop.time())
            else:
                self._timer = self._loop.call_later(left, look)

        self._timer = self._loop.call_later(seconds, look)

    def _explain(self) -> str:
        what = self._body.describe()
        if self._idle:
            return (
                f"{what} gave no sign of life for {self._policy.idle_seconds:g} seconds (idle_timeout). "
                "Call runtime.heartbeat() while it works, or allow more."
            )
        return f"{what} took longer than {self._policy.run_seconds:g} seconds (run_timeout) and was cancelled"
