"""Joining a run that is under way, or looking at one that is over: its events from any point on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..engine.events import Wanted, parse_event_id
from ..engine.follow import Follower, Target, follow_awaiting, follow_blocking, run_meant
from ..errors import ConfigError
from ..invocation import Config, modes_of
from .base import Addressing

if TYPE_CHECKING:
    from uuid import UUID

    from ..types import StreamEvent, StreamMode

__all__ = ["Following"]

RECORDED: Final = ("updates", "values", "tasks", "custom", "messages")
"""The stream modes that can be told from what is stored."""


class Following(Addressing):
    """How a workflow's runs can be followed by others than those who started them."""

    def join_stream(
        self,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        after: str | None = None,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        poll_interval: float = 0.1,
    ) -> Generator[StreamEvent, None, None]:
        """The events of a run: first the recorded ones, then, as long as an attempt of it is under way, what comes.

        A chunk is handed out when it is on disk. Any number of readers, in this process or in others on the same database,
        may join a run, and leave it without the run noticing.

        Args:
            config: names the thread, and with ``checkpoint_id`` the run; by default the thread's current run.
            thread_id: names the thread instead.
            after: the `StreamEvent.id` of the last event that was seen: go on behind it, in the run it is of.
            stream_mode: ``"updates"``, ``"values"``, ``"tasks"`` (ends only), and, where the run was started with
                ``durable_stream=True``, ``"custom"`` and ``"messages"``; or a list of these.
            subgraphs: whether chunks of nested workflows come too.
            poll_interval: seconds between two looks at a run of another process. News of a run in this process needs none.

        Returns:
            An iterator of `StreamEvent`. It ends when the run is done or asks; where the run failed or was stopped, it raises
            what ``invoke`` raised.

        Raises:
            ConfigError: an argument is wrong; at once. Or the run is not, or no longer, there.
            EmptyInputError: the thread has never run.
            WorkflowMismatch: the run is another workflow's.
            Superseded: the process that ran it is gone; when somebody has taken it over, join again.

        >>> from durably import InMemorySaver, entrypoint, task
        >>> @task
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def quadruple(x: int) -> int:
        ...     return double(double(x).result()).result()
        >>> quadruple.invoke(1, thread_id="a")
        4
        >>> first, *_ = quadruple.join_stream(thread_id="a")
        >>> first.data
        {'double': 2}
        >>> [event.data for event in quadruple.join_stream(thread_id="a", after=first.id)]
        [{'double': 4}, {'quadruple': 4}]
        """
        return follow_blocking(self._follower(config, thread_id, after, stream_mode, subgraphs, poll_interval))

    def ajoin_stream(
        self,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        after: str | None = None,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        poll_interval: float = 0.1,
    ) -> AsyncGenerator[StreamEvent, None]:
        """As `join_stream`, for ``async for``."""
        return follow_awaiting(self._follower(config, thread_id, after, stream_mode, subgraphs, poll_interval))

    def _follower(
        self,
        config: Config | None,
        thread_id: Any,
        after: str | None,
        stream_mode: Any,
        subgraphs: bool,
        interval: float,
    ) -> Follower:
        storage, options = self._addressed(config, thread_id)
        if not (isinstance(interval, (int, float)) and interval > 0):
            raise ConfigError(f"poll_interval={interval!r}: give a positive number of seconds")
        run_id, sequence = ("", 0) if after is None else parse_event_id(after)
        run_id = run_meant(options.checkpoint_id, run_id)
        target = Target(self._function.name, str(options.thread_id), run_id, float(interval))
        return Follower(storage, target, Wanted(frozenset(modes_of(stream_mode, RECORDED)), subgraphs, sequence))
