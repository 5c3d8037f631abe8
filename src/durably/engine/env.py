"""What a workflow gives to its own body and to the tasks called in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..types import MISSING
from .function import Policies

if TYPE_CHECKING:
    from ..cache.base import BaseCache
    from ..store.base import BaseStore
    from .call import TaskFuture
    from .stream import Channel

__all__ = ["Env"]


class Env(msgspec.Struct, frozen=True):
    """What a workflow gives to its own body and to the tasks called in it.

    Args:
        config: as the user sees it.
        context: what the caller passed as ``context=``.
        store: long-term memory.
        cache: results shared across runs.
        policies: the defaults of the tasks.
        previous: what the thread's last run saved, `MISSING` on its first.
        namespace: the calls of nested workflows that lead here, outermost first, each as its name, a colon and its id; empty
            for the run's own workflow.
        taps: who listens, each with the number of namespace parts that lead to the workflow it listens to.
        journaled: whether calls are recorded.
        memory: under which path a nested workflow's saved value is kept across runs; empty where it is not.
        holding: the threads that the run, and the runs around it, hold, each with its checkpointer's identity.
        watch: told of every attempt of a call before it begins; for tests.
    """

    config: Mapping[str, Any]
    context: Any
    store: BaseStore | None
    cache: BaseCache | None
    policies: Policies
    previous: Any = MISSING
    namespace: tuple[str, ...] = ()
    taps: tuple[tuple[Channel, int], ...] = ()
    journaled: bool = True
    memory: str = ""
    holding: frozenset[tuple[int, str]] = frozenset()
    watch: Callable[[TaskFuture[Any]], None] | None = None

    def hears(self, mode: str) -> bool:
        """Whether anybody listens to a mode, so that its chunks are worth making."""
        return any(channel.hears(mode) for channel, _ in self.taps)

    def emit(self, mode: str, chunk: Any) -> None:
        """Hand a chunk to whoever listens. Every chunk of every mode comes through here."""
        for channel, depth in self.taps:
            channel.put(mode, self.namespace[depth:], chunk)
