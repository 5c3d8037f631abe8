"""What streams carry: their modes, who writes to them, and the chunks of version 2.

Users import these words from `durably.types`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypedDict, get_args

import msgspec

if TYPE_CHECKING:
    from .types import Interrupt

__all__ = [
    "STREAM_MODES",
    "CheckpointStreamPart",
    "CustomStreamPart",
    "DebugStreamPart",
    "MessagesStreamPart",
    "StreamEvent",
    "StreamMode",
    "StreamPart",
    "StreamWriter",
    "TasksStreamPart",
    "UpdatesStreamPart",
    "ValuesStreamPart",
]

StreamMode = Literal["values", "updates", "checkpoints", "tasks", "debug", "messages", "custom"]
"""What a stream carries; see ``docs/reference/streams.md``."""

STREAM_MODES: Final[tuple[StreamMode, ...]] = get_args(StreamMode)


class StreamWriter(Protocol):
    """Takes one value and hands it to whoever streams the run in mode ``custom``; from any thread.

    While a slow reader has 512 chunks before it, writing on a thread waits for it. On an event loop, which must not be
    blocked, the next call of a task waits; a body that writes much between its calls awaits `drain`.
    """

    def __call__(self, chunk: Any, /) -> None:
        """Hand a value over."""
        ...

    async def drain(self) -> None:
        """Let the event loop run until the reader has caught up; at once where nobody reads."""
        ...


class UpdatesStreamPart(TypedDict):
    """A chunk of mode ``updates`` in version 2."""

    type: Literal["updates"]
    ns: tuple[str, ...]
    data: dict[str, Any]


class ValuesStreamPart(TypedDict):
    """A chunk of mode ``values`` in version 2; where the run asks, with its questions and None as data."""

    type: Literal["values"]
    ns: tuple[str, ...]
    data: Any
    interrupts: tuple[Interrupt[Any], ...]


class CustomStreamPart(TypedDict):
    """A chunk of mode ``custom`` in version 2."""

    type: Literal["custom"]
    ns: tuple[str, ...]
    data: Any


class MessagesStreamPart(TypedDict):
    """A chunk of mode ``messages`` in version 2: a message's chunk, and what is known of where it is from."""

    type: Literal["messages"]
    ns: tuple[str, ...]
    data: tuple[Any, dict[str, Any]]


class TasksStreamPart(TypedDict):
    """A chunk of mode ``tasks`` in version 2: the start or the end of a call."""

    type: Literal["tasks"]
    ns: tuple[str, ...]
    data: dict[str, Any]


class CheckpointStreamPart(TypedDict):
    """A chunk of mode ``checkpoints`` in version 2: a snapshot."""

    type: Literal["checkpoints"]
    ns: tuple[str, ...]
    data: dict[str, Any]


class DebugStreamPart(TypedDict):
    """A chunk of mode ``debug`` in version 2: one of ``tasks`` or ``checkpoints`` with its step and time."""

    type: Literal["debug"]
    ns: tuple[str, ...]
    data: dict[str, Any]


StreamPart: TypeAlias = (
    UpdatesStreamPart
    | ValuesStreamPart
    | CustomStreamPart
    | MessagesStreamPart
    | TasksStreamPart
    | CheckpointStreamPart
    | DebugStreamPart
)
"""What ``stream(..., version="v2")`` yields; ``type`` says which it is."""


class StreamEvent(msgspec.Struct, frozen=True):
    """What ``join_stream`` yields: a chunk, and where it stands among those of its run.

    Args:
        id: names the event: hand the last one seen to ``join_stream(after=...)``. It fits the field ``id`` of a server-sent
            event, and ids of one run sort in the order of its events.
        type: the chunk's stream mode; or ``"attempt"`` where a further attempt of the run began, whose bodies run again
            from their top and may write again what they wrote before. Its data is ``{"attempt": number, "after": how the
            run stood before}``.
        ns: the calls of nested workflows that lead to it.
        data: the chunk.
        run_id: the run.
        attempt: which attempt of it this is from, from 1.
        sequence: grows from event to event of a run, with gaps.
    """

    id: str
    type: StreamMode | Literal["attempt"]
    ns: tuple[str, ...]
    data: Any
    run_id: str
    attempt: int
    sequence: int
