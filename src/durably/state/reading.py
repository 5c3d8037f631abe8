"""Looking at threads: how they stand, how they came to it, and which there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..checkpoint.base import Status
from ..engine.commit import Committer
from ..engine.history import RunInfo, list_runs, read_history
from ..engine.search import ThreadInfo, find_threads, query_for
from ..engine.steps import Steps, adrive, drive
from ..engine.unfolding import read_unfolded, state_of
from ..invocation import Config
from ..types import StateSnapshot
from .base import Addressing

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from ..moments import Moments
    from ..serde import Serializer

__all__ = ["Reading"]

T = TypeVar("T")

LATEST: Final = 1 << 62
"""Above the number of every run."""


class Reading(Addressing):
    """What a workflow's threads can be asked."""

    def get_state(
        self, config: Config | None = None, *, thread_id: str | UUID | None = None, subgraphs: bool = False
    ) -> StateSnapshot:
        """How a thread stands, or stood at a checkpoint.

        Args:
            config: names the thread, and with ``checkpoint_id`` a moment of its past.
            thread_id: names the thread instead.
            subgraphs: of a graph, whether tasks that are graphs show their own state.

        Returns:
            A snapshot; of a thread that has never run, one with ``values == {}`` and ``next == ()``.

        Raises:
            ConfigError: no thread is named, there is no such checkpoint, or nothing is stored.

        >>> from durably import InMemorySaver, entrypoint
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double.invoke(4, thread_id="a")
        8
        >>> double.get_state(thread_id="a").values
        8
        """
        return drive(self._state(config, thread_id, subgraphs))

    async def aget_state(
        self, config: Config | None = None, *, thread_id: str | UUID | None = None, subgraphs: bool = False
    ) -> StateSnapshot:
        """As `get_state`, without blocking the running event loop."""
        return await adrive(self._state(config, thread_id, subgraphs))

    def _state(self, config: Config | None, thread_id: Any, subgraphs: bool) -> Steps[StateSnapshot]:
        storage, options = self._addressed(config, thread_id)
        thread, checkpoint_id = str(options.thread_id), options.checkpoint_id
        return (yield from state_of(thread, checkpoint_id, storage, self._settings.moments, subgraphs=subgraphs))

    def get_state_history(
        self,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """The checkpoints of a thread, latest first.

        Args:
            config: names the thread.
            thread_id: names the thread instead.
            filter: only checkpoints whose metadata has these values.
            before: only checkpoints before the one this addresses.
            limit: how many at most.
        """
        pages = self._pages(config, thread_id, filter, before)
        return islice(_in_turn(lambda: drive(pages())), limit)

    async def aget_state_history(
        self,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """As `get_state_history`, for ``async for``."""
        pages = self._pages(config, thread_id, filter, before)
        async for snapshot in _limited(lambda: adrive(pages()), limit):
            yield snapshot

    def _pages(
        self, config: Config | None, thread_id: Any, filter: dict[str, Any] | None, before: Config | None
    ) -> Callable[[], Steps[list[StateSnapshot] | None]]:
        """Gives the steps that read the next page, None after the last one."""
        storage, options = self._addressed(config, thread_id)
        behind = None if before is None else (before.get("configurable") or {}).get("checkpoint_id")
        thread, moments = str(options.thread_id), self._settings.moments
        read = (read_history if moments is None else read_unfolded)(thread, behind, storage.serde)
        below = LATEST

        def page() -> Steps[list[StateSnapshot] | None]:
            nonlocal below
            if not below:
                return None
            found, below = yield from Committer.of(storage).perform(read(below))
            snapshots = _shown(found, moments, storage.serde, behind)
            return [s for s in snapshots if (filter or {}).items() <= (s.metadata or {}).items()]

        return page

    def runs(self, thread_id: str | UUID, *, limit: int = 20) -> list[RunInfo]:
        """The latest runs of a thread, latest first; ``run.calls()`` lists what each has recorded.

        >>> from durably import InMemorySaver, entrypoint, task
        >>> @task
        ... def square(x: int) -> int:
        ...     return x * x
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def fourth(x: int) -> int:
        ...     return square(square(x).result()).result()
        >>> fourth.invoke(3, thread_id="a")
        81
        >>> [(call.name, call.value) for call in fourth.runs("a")[0].calls()]
        [('square', 9), ('square', 81)]
        """
        return drive(self._runs(thread_id, limit))

    async def aruns(self, thread_id: str | UUID, *, limit: int = 20) -> list[RunInfo]:
        """As `runs`, without blocking the running event loop."""
        return await adrive(self._runs(thread_id, limit))

    def _runs(self, thread_id: Any, limit: int) -> Steps[list[RunInfo]]:
        storage, options = self._addressed(None, thread_id)
        return (yield from Committer.of(storage).perform(list_runs(str(options.thread_id), limit, storage.serde)))  # type: ignore[no-any-return]

    def threads(
        self,
        *,
        status: Status | None = None,
        metadata: Mapping[str, Any] | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        limit: int | None = None,
    ) -> Iterator[ThreadInfo]:
        """The threads whose current run is one of this workflow's, those begun last first.

        Args:
            status: only threads whose current run stands so: ``"asked"``, ``"failed"``, ``"running"``, ``"done"`` ...
            metadata: only those whose current run was started with these entries of ``config["metadata"]``.
            since: only those that have changed at this moment or later; a `datetime`, or seconds since the epoch.
            until: only those that have not changed since this moment.
            limit: how many at most.

        >>> from durably import InMemorySaver, entrypoint, interrupt
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def publish(topic: str) -> str:
        ...     return topic.upper() if interrupt("publish?") else "rejected"
        >>> for topic in ("rivers", "lakes"):
        ...     asked = publish.invoke(topic, thread_id=topic, config={"metadata": {"desk": topic[:1]}})
        >>> [thread.thread_id for thread in publish.threads(status="asked")]
        ['lakes', 'rivers']
        >>> [thread.thread_id for thread in publish.threads(metadata={"desk": "r"})]
        ['rivers']
        """
        pages = self._thread_pages(status, metadata, since, until)
        return islice(_in_turn(lambda: drive(pages())), limit)

    async def athreads(
        self,
        *,
        status: Status | None = None,
        metadata: Mapping[str, Any] | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[ThreadInfo]:
        """As `threads`, for ``async for``."""
        pages = self._thread_pages(status, metadata, since, until)
        async for thread in _limited(lambda: adrive(pages()), limit):
            yield thread

    def _thread_pages(
        self, status: Status | None, metadata: Mapping[str, Any] | None, since: Any, until: Any
    ) -> Callable[[], Steps[list[ThreadInfo] | None]]:
        storage = self._storage()
        query = query_for(self._function.name, status, since, until)
        below = LATEST

        def page() -> Steps[list[ThreadInfo] | None]:
            nonlocal below
            if not below:
                return None
            found, below = yield from Committer.of(storage).perform(find_threads(query, below))
            return [thread for thread in found if (metadata or {}).items() <= thread.metadata.items()]

        return page


def _shown(found: list[Any], moments: Moments | None, serde: Serializer, behind: str | None) -> Iterable[StateSnapshot]:
    """What was found, latest first; of runs with moments inside, those behind a checkpoint."""
    if moments is None:
        return [moment.snapshot(serde) for moment in found]
    snapshots = [snapshot for run in found for snapshot in run.snapshots(moments, serde)]
    addresses = [snapshot.config["configurable"]["checkpoint_id"] for snapshot in snapshots]
    return snapshots[addresses.index(behind) + 1 if behind in addresses else 0 :]


def _in_turn(next_page: Callable[[], list[T] | None]) -> Iterator[T]:
    """The items of page after page."""
    while (page := next_page()) is not None:
        yield from page


async def _limited(next_page: Callable[[], Awaitable[list[T] | None]], limit: int | None) -> AsyncIterator[T]:
    """Likewise, so many at most."""
    left = limit
    while left != 0 and (page := await next_page()) is not None:
        for item in page[:left]:
            yield item
        left = None if left is None else max(0, left - len(page))
