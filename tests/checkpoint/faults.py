"""A checkpointer that fails at one commit, in one of the ways in which databases do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Literal, get_args

from durably.checkpoint.base import BaseCheckpointer, Busy, Chunk, Uncertain, Work
from durably.errors import StorageError

Fault = Literal["refused", "denied", "locked", "lost", "kept"]
"""How a commit fails.

``refused``: nothing is written, and an error says so. ``denied``: it is written, and an error says that it was not, which
no backend may do. ``locked``: nothing is written for a while. ``lost`` and ``kept``: the connection breaks during the commit,
and only later can be found out that it did not take effect, or that it did.
"""
FAULTS: tuple[Fault, ...] = get_args(Fault)
HIDDEN = ("locked", "lost", "kept")
"""What the engine deals with, so that nobody notices."""


class FaultySaver(BaseCheckpointer):
    """Passes everything on to a checkpointer, and fails at one commit.

    Args:
        under: the checkpointer that keeps the rows.
        fault: how it fails.
        at: at which commit, from 1; 0 for none.
        times: how often the database is locked, or cannot say what became of the commit.
    """

    def __init__(self, under: BaseCheckpointer, fault: Fault = "refused", at: int = 0, *, times: int = 2) -> None:
        self.under = under
        self.serde = under.serde
        self.patience = under.patience
        self.inline = under.inline  # type: ignore[misc]
        self.fault = fault
        self.at = at
        self.times = times
        self.commits = 0
        self._counting = Lock()

    @property
    def failed(self) -> bool:
        """Whether it has come to the commit that fails."""
        return 0 < self.at <= self.commits

    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        """See `BaseCheckpointer.transact`."""
        return self._commit(lambda: self.under.transact(works, durable=durable))

    def append(self, chunks: Sequence[Chunk], *, durable: bool = False) -> list[bool]:
        """See `BaseCheckpointer.append`."""
        return self._commit(lambda: self.under.append(chunks, durable=durable))

    def session(self, *, durable: bool = False, is_async: bool = False) -> Any:
        """See `BaseCheckpointer.session`."""
        return FaultySession(self.under.session(durable=durable, is_async=is_async), self._commit)

    def _commit(self, write: Callable[[], list[Any]]) -> list[Any]:
        with self._counting:
            if self.fault == "locked" and self.commits == self.at - 1 and self.times > 0:
                self.times -= 1
                raise Busy(f"commit {self.at} finds the database locked")
            self.commits += 1
            if self.commits != self.at or self.fault == "locked":
                return write()
        what = f"commit {self.at} fails"
        if self.fault == "refused":
            raise StorageError(what)
        results = None if self.fault == "lost" else write()
        if self.fault == "denied":
            raise StorageError(what)
        raise Uncertain(what, lambda: self._found_out(results))

    def _found_out(self, results: list[Any] | None) -> list[Any] | None:
        if self.times > 0:
            self.times -= 1
            raise Busy("the database is not there yet")
        return results


class FaultySession:
    """Passes everything on to a session, whose commit may be the one that fails."""

    def __init__(self, under: Any, commit: Callable[[Callable[[], list[Any]]], list[Any]]) -> None:
        self.under = under
        self._commit = commit

    def __getattr__(self, name: str) -> Any:
        return getattr(self.under, name)

    def finish(self, chunk: Chunk) -> Any:
        """Commit, or fail."""
        return self._commit(lambda: [self.under.finish(chunk)])[0]
