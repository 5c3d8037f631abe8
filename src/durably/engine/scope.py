"""A stretch of a body whose calls come in a fixed order: the body itself, or one branch of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..checkpoint.records import escaped
from .cutoff import Cutoff
from .identity import branch_path
from .stream import writer_of

if TYPE_CHECKING:
    from ..runtime import Runtime
    from ..store.base import BaseStore
    from ..types import StreamWriter
    from .call import TaskFuture

__all__ = ["Scope"]


class Scope(msgspec.Struct, eq=False):
    """Counts the calls made in it. What the context variable `durably.context.current` holds.

    Args:
        body: the call whose body this is, or is a branch of.
        cutoff: holds the calls of a block that is known to have run out of time.
    """

    body: TaskFuture[Any]
    _outer: Scope | None = None  # of which it is a branch; None for the body itself
    _branch: int | str = 0  # what tells it from the other branches of that scope
    cutoff: Cutoff | None = None
    _path: str | None = None
    _branches: int = 0
    _named: dict[str, Scope] | None = None
    _counters: dict[str, int] | None = None

    @property
    def path(self) -> str:
        """Names the scope within the run."""
        path = self._path
        if path is None:  # many scopes are left without anybody having asked
            outer = self._outer
            path = self._path = self.body.path if outer is None else branch_path(outer.path, self._branch)
        return path

    def count(self, name: str) -> int:
        """The number of the next call of that name."""
        lock = self.body.run.lock
        lock.acquire()  # once for every call: `with` would take twice as long
        try:
            counters = self._counters
            if counters is None:
                counters = self._counters = {}
            n = counters.get(name, 0)
            counters[name] = n + 1
            return n
        finally:
            lock.release()

    def branch(self) -> Scope:
        """A new branch, numbered in the order of creation."""
        body = self.body
        lock = body.run.lock
        lock.acquire()
        number = self._branches
        self._branches = number + 1
        lock.release()
        return Scope(body, self, number, self.cutoff)

    def named(self, name: str) -> Scope:
        """The branch of that name; the second time its count of calls goes on."""
        with self.body.run.lock:
            if self._named is None:
                self._named = {}
            branch = self._named.get(name)
            if branch is None:
                branch = self._named[name] = Scope(self.body, self, name)
        branch.cutoff = self.cutoff
        return branch

    def is_ahead(self, path: str) -> bool:
        """Whether what was recorded in a scope comes after this place: in the scope itself, or in a branch to come.

        Branches beside this one, and those begun already, run side by side with it: what they recorded says nothing.
        """
        if path == self.path:
            return True
        inside = path.removeprefix(f"{self.path}~")
        if inside == path:
            return False
        branch = inside.partition("~")[0]
        if branch.startswith("="):
            return branch[1:] not in {escaped(name) for name in self._named or ()}
        return int(branch) >= self._branches

    # What `durably.context.Place` promises.

    def ask(self, value: Any, response_schema: Any) -> Any:
        """Put a question, or return its recorded answer."""
        return self.body.run.ask(self, value, response_schema)

    def config(self) -> Mapping[str, Any]:
        """The config of the body under way."""
        return self.body.config

    def runtime(self) -> Runtime[Any]:
        """The runtime of the body under way."""
        return self.body.runtime()

    def once(self, store: BaseStore) -> tuple[str, str]:
        """The run and the call under way, for a write to ``store`` that is made once; at its end the run tells it."""
        run = self.body.run
        with run.lock:
            if store not in run.stores:
                run.stores.append(store)
        return run.run_id, self.body.id

    def writer(self, mode: str) -> StreamWriter:
        """The body's writer for one stream mode."""
        return writer_of(self.body, mode)
