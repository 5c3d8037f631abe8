"""How an attempt is stopped from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .call import TaskFuture

__all__ = ["Leash"]


class Leash:
    """Stops an attempt from outside: from another thread, or before it has begun."""

    __slots__ = ("_reason", "_root")

    def __init__(self) -> None:
        self._root: TaskFuture[Any] | None = None
        self._reason: BaseException | None = None

    def attach(self, root: TaskFuture[Any]) -> None:
        """The attempt begins."""
        self._root = root
        if self._reason is not None:
            root.run.stop(self._reason)

    def stop(self, reason: BaseException) -> None:
        """Have the attempt end: at its next call, and what is async at once."""
        self._reason = reason
        root = self._root
        if root is not None:
            root.run.stop(reason)
            for call in root.run.scheduler.unfinished(root):
                call.cancel()
