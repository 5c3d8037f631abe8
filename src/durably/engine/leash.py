"""How an attempt is stopped from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .call import TaskFuture

__all__ = ["Leash"]


class Leash:
    """Stops an attempt from outside: from another thread, or before it has begun."""

    __slots__ = ("_root", "reason")

    def __init__(self) -> None:
        self._root: TaskFuture[Any] | None = None
        self.reason: BaseException | None = None  # why it was pulled, None as long as it was not

    def attach(self, root: TaskFuture[Any]) -> None:
        """The attempt begins."""
        self._root = root
        if self.reason is not None:
            root.run.stop(self.reason)

    def stop(self, reason: BaseException) -> None:
        """Have the attempt end: at its next call, and what is async at once."""
        self.reason = reason
        root = self._root
        if root is not None:
            root.run.stop(reason)
            for call in root.run.scheduler.unfinished(root):
                call.cancel()
