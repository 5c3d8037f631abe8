"""A transaction that is lent to a task, which writes rows of its own in it, together with the record of its result."""

from __future__ import annotations

from typing import Any, Protocol

from .rows import Chunk

__all__ = ["Broken", "Session"]


class Broken(Exception):
    """The body has done what a lent connection does not allow, which shows when it is to be committed; nothing was written.

    Its text goes on after "the body of this task", as that of `Session.breach`.
    """


class Session(Protocol):
    """One transaction, and the connection that the body of a task is given. Made by `BaseCheckpointer.session`.

    `begin`, `finish` and `rollback` have the colour of the body: for an async one they are coroutine functions.

    Attributes:
        exclusive: whether nothing else can be written through this checkpointer while it lasts.
        connection: what the body is given; there from `begin` on.
    """

    exclusive: bool
    connection: Any

    def begin(self) -> Any:
        """Begin the transaction.

        Raises:
            Busy: the database is locked, or not there.
        """

    def breach(self) -> str:
        """What the body has done that a lent connection does not allow, such as a commit; empty if nothing.

        Raises:
            Busy: the database was lost while the body ran.
        """
        ...

    def finish(self, chunk: Chunk) -> Any:
        """Append to a journal and commit; False, and nothing is written, when the fence is stale.

        Raises:
            Busy: nothing was written, for a reason that passes.
            Uncertain: the database was lost while it committed.
            Broken: nothing was written, because the body has not left the transaction as it was.
            StorageError: nothing was written.
        """

    def rollback(self) -> Any:
        """End the transaction, if it has begun and not ended; nothing is written. Raises nothing."""
