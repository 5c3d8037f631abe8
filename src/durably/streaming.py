"""Running a workflow and reading what happens, chunk by chunk. A base of `durably.workflow.Workflow`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar, Unpack, overload

from .engine.shells import stream_awaiting, stream_blocking
from .invocation import Config, How, channel_for, invocation_of
from .state import Threads
from .types import Command, StreamMode, StreamPart

__all__ = ["EventMode", "Modes", "SaidMode", "Streaming"]

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)

EventMode: TypeAlias = Literal["updates", "tasks", "checkpoints", "debug"]
"""The stream modes whose chunks are dicts."""

SaidMode: TypeAlias = Literal["custom", "messages"]
"""The stream modes that bodies write."""

Modes: TypeAlias = list[StreamMode] | tuple[StreamMode, ...]

Namespace: TypeAlias = tuple[str, ...]


class Streaming(Threads, Generic[In, Out]):
    """Streams of a workflow's runs."""

    @overload
    def stream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: EventMode = "updates",
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> Generator[dict[str, Any], None, None]: ...

    @overload
    def stream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Literal["messages"],
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> Generator[tuple[Any, dict[str, Any]], None, None]: ...

    @overload
    def stream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Literal["values", "custom"],
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> Generator[Any, None, None]: ...

    @overload
    def stream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Modes,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> Generator[tuple[StreamMode, Any], None, None]: ...

    @overload
    def stream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: StreamMode = "updates",
        subgraphs: Literal[True],
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> Generator[tuple[Namespace, Any], None, None]: ...

    @overload
    def stream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Modes,
        subgraphs: Literal[True],
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> Generator[tuple[Namespace, StreamMode, Any], None, None]: ...

    @overload
    def stream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        version: Literal["v2"],
        **how: Unpack[How],
    ) -> Generator[StreamPart, None, None]: ...

    @overload
    def stream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> Generator[Any, None, None]: ...

    def stream(
        self,
        input: Any,
        config: Config | None = None,
        *,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        version: str = "v1",
        **how: Any,
    ) -> Generator[Any, None, None]:
        """Run the workflow and yield chunks as they come.

        Args:
            input: as for `invoke`.
            config: as for `invoke`.
            stream_mode: ``"updates"`` (``{task: result}`` as each task finishes, at last ``{workflow: value}``),
                ``"values"`` (what the workflow returns), ``"custom"`` (what was written to the stream writer),
                ``"messages"``, ``"tasks"`` (starts and ends of calls), ``"checkpoints"``, ``"debug"`` (both); or a list of
                these, and then chunks come as ``(mode, chunk)``.
            subgraphs: whether chunks of nested workflows come too, each with its namespace in front.
            version: ``"v2"`` yields dicts instead: ``{"type": mode, "ns": namespace, "data": chunk}``, those of ``values``
                with ``"interrupts"`` beside.
            **how: as for `invoke`.

        Returns:
            An iterator. Leaving it early stops the run, which can be resumed.

        Raises:
            ConfigError: an argument is wrong; at once.
            Exception: what the workflow raised; from the iterator, after the chunks that came before.

        >>> from durably.func import entrypoint, task
        >>> @task
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> @entrypoint()
        ... def quadruple(x: int) -> int:
        ...     return double(double(x).result()).result()
        >>> list(quadruple.stream(1))
        [{'double': 2}, {'double': 4}, {'quadruple': 4}]
        """
        channel = channel_for(stream_mode, subgraphs, version)
        invocation = invocation_of(self._function, self._settings, input, config, channel=channel, **how)
        return stream_blocking(invocation, channel)

    @overload
    def astream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: EventMode = "updates",
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> AsyncGenerator[dict[str, Any], None]: ...

    @overload
    def astream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Literal["messages"],
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> AsyncGenerator[tuple[Any, dict[str, Any]], None]: ...

    @overload
    def astream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Literal["values", "custom"],
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> AsyncGenerator[Any, None]: ...

    @overload
    def astream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Modes,
        subgraphs: Literal[False] = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> AsyncGenerator[tuple[StreamMode, Any], None]: ...

    @overload
    def astream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: StreamMode = "updates",
        subgraphs: Literal[True],
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> AsyncGenerator[tuple[Namespace, Any], None]: ...

    @overload
    def astream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Modes,
        subgraphs: Literal[True],
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> AsyncGenerator[tuple[Namespace, StreamMode, Any], None]: ...

    @overload
    def astream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        version: Literal["v2"],
        **how: Unpack[How],
    ) -> AsyncGenerator[StreamPart, None]: ...

    @overload
    def astream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> AsyncGenerator[Any, None]: ...

    def astream(
        self,
        input: Any,
        config: Config | None = None,
        *,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        version: str = "v1",
        **how: Any,
    ) -> AsyncGenerator[Any, None]:
        """As `stream`, for ``async for``."""
        channel = channel_for(stream_mode, subgraphs, version)
        invocation = invocation_of(self._function, self._settings, input, config, channel=channel, **how)
        return stream_awaiting(invocation, channel)
