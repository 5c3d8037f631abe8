"""What a workflow gives to its own body and to the tasks called in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..types import MISSING
from .function import Policies

if TYPE_CHECKING:
    from ..cache.base import BaseCache
    from ..instruments import Instrument
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
        nesting: which of the calls that lead here are nested workflows: a bit for each, outermost first.
        taps: who listens, each with the number of namespace parts that lead to the workflow it listens to.
        journaled: whether calls are recorded.
        memory: under which path a nested workflow's saved value is kept across runs; empty where it is not.
        holding: the threads that the run, and the runs around it, hold, each with its checkpointer's identity.
        instruments: what runs around the bodies.
        watch: told of every attempt of a call before it begins; for tests.
        is_simple: whether nothing of this has to do with a call of a simple function: nobody listens, no retries, no cache.
    """

    config: Mapping[str, Any]
    context: Any
    store: BaseStore | None
    cache: BaseCache | None
    policies: Policies
    previous: Any = MISSING
    namespace: tuple[str, ...] = ()
    nesting: int = 0
    taps: tuple[tuple[Channel, int], ...] = ()
    journaled: bool = True
    memory: str = ""
    holding: frozenset[tuple[int, str]] = frozenset()
    instruments: tuple[Instrument, ...] = ()
    watch: Callable[[TaskFuture[Any]], None] | None = None
    is_simple: bool = False  # made of the others

    def __post_init__(self) -> None:
        cached = self.cache is not None and self.policies.cache is not None
        is_simple = not (self.taps or self.policies.retry or cached or self.watch is not None)
        msgspec.structs.force_setattr(self, "is_simple", is_simple)

    @property
    def known_previous(self) -> Any:
        """What the thread's last run saved, None on its first."""
        return None if self.previous is MISSING else self.previous

    def hears(self, mode: str) -> bool:
        """Whether anybody would be shown a chunk of this mode, so that it is worth making."""
        for channel, depth in self.taps:  # noqa: SIM110 - asked twice for every call, and `any` takes twice as long
            if channel.hears(mode, self.namespace[depth:]):
                return True
        return False

    def skip(self, mode: str, id: str) -> None:
        """Take the thing with this id as shown: whoever listens knows it."""
        for channel, depth in self.taps:
            channel.meets(mode, self.namespace[depth:], id, "")

    def sinks(self, mode: str) -> tuple[Callable[[Any], None], ...]:
        """What takes the chunks of one mode, for each who wants them: `emit` for a body that says many."""
        places = [(channel, self.namespace[depth:]) for channel, depth in self.taps]
        return tuple(channel.sink(mode, place) for channel, place in places if channel.hears(mode, place))

    def emit(self, mode: str, chunk: Any, *, piece_of: str = "", whole: str = "") -> None:
        """Hand a chunk to whoever listens. Every chunk of every mode comes through here.

        Args:
            mode: the stream mode.
            chunk: what to hand over.
            piece_of: the chunk is a piece of the thing with this id.
            whole: the chunk is that thing as a whole: it is not for those who were shown it, or a piece of it.
        """
        for channel, depth in self.taps:
            if not (piece_of or whole) or channel.meets(mode, self.namespace[depth:], piece_of, whole):
                channel.put(mode, self.namespace[depth:], chunk)
