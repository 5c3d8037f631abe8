"""`Workflow`: what `@entrypoint` returns. Thin shells around the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from copy import copy
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, Unpack, cast, overload

from msgspec.structs import replace

from .engine.attempt import Invocation
from .engine.function import Function
from .engine.options import merge_configs
from .engine.shells import run_awaiting, run_blocking
from .errors import ConfigError
from .invocation import Config, How, Settings, invocation_of, nested_call, nested_output, output
from .schema import context_schema_of, input_schema_of, output_schema_of
from .streaming import EventMode, Modes, SaidMode, Streaming
from .submitting import Submitting
from .types import Command, GraphOutput, StreamPart

if TYPE_CHECKING:
    from .checkpoint.base import BaseCheckpointer

__all__ = ["Workflow"]

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class Workflow(Streaming[In, Out], Submitting[In, Out], Generic[In, Out]):
    """A function made durable. Made by `durably.func.entrypoint`, not by hand.

    >>> from durably.func import entrypoint
    >>> @entrypoint()
    ... def shout(text: str) -> str:
    ...     return text.upper()
    >>> shout.invoke("hello")
    'HELLO'
    >>> shout.name
    'shout'
    """

    def __init__(self, function: Function, settings: Settings) -> None:
        self._function = function
        self._settings = settings
        self.__name__ = function.name
        self.__doc__ = getattr(function.call, "__doc__", None)

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r}>"

    @property
    def name(self) -> str:
        """Under which its runs are stored."""
        return self._function.name

    @property
    def is_async(self) -> bool:
        """Whether its function is a coroutine function."""
        return self._function.is_async

    @property
    def checkpointer(self) -> BaseCheckpointer | None:
        """Where its runs are stored, if anywhere."""
        return self._settings.storage

    def with_config(self, config: Config | None = None, **entries: Any) -> Self:
        """The same workflow with a config under that of each invocation.

        Args:
            config: tags and metadata add up, configurable values are merged key by key, other entries are replaced.
            entries: further entries of the config.

        >>> from durably.func import entrypoint
        >>> @entrypoint()
        ... def tags(_: int, *, config: dict) -> list:
        ...     return config["tags"]
        >>> tags.with_config(tags=["nightly"]).invoke(1, {"tags": ["eu"]})
        ['nightly', 'eu']
        """
        merged = merge_configs(self._settings.config, config, entries)
        return self._changed(self._function, replace(self._settings, config=merged))

    def with_name(self, name: str) -> Self:
        """The same workflow under another name: that under which its runs and its calls are recorded.

        >>> from durably.func import entrypoint
        >>> @entrypoint()
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double.with_name("twice")
        <Workflow 'twice'>
        """
        return self._changed(replace(self._function, name=name), self._settings)

    def _changed(self, function: Function, settings: Settings) -> Self:
        """This workflow with another function or other settings."""
        changed = copy(self)
        changed._function, changed._settings, changed.__name__ = function, settings, function.name
        return changed

    # Running.

    @overload
    def invoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Literal["values"] | None = None,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> Out: ...

    @overload
    def invoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Literal["values"] | None = None,
        version: Literal["v2"],
        **how: Unpack[How],
    ) -> GraphOutput[Out]: ...

    @overload
    def invoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: EventMode,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> list[dict[str, Any]]: ...

    @overload
    def invoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: SaidMode | Modes,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> list[Any]: ...

    @overload
    def invoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: EventMode | SaidMode | Modes,
        version: Literal["v2"],
        **how: Unpack[How],
    ) -> list[StreamPart]: ...

    def invoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Any = None,
        version: Any = "v1",
        **how: Any,
    ) -> Any:
        """Run the workflow, or go on with a run, and wait for what it returns.

        Args:
            input: the workflow's input; ``Command(resume=answer)`` answers a question; None resumes a run that failed, was
                stopped, or whose process died.
            config: as in LangGraph: ``{"configurable": {"thread_id": ...}, "tags": [...], "metadata": {...},
                "max_concurrency": n, "recursion_limit": n}``; and ``"grace"``, the seconds for which a failing run
                waits for sync tasks it has begun.
            stream_mode: with another mode than ``"values"``, or with a list of modes, the chunks of `stream` are returned
                as a list.
            version: ``"v2"`` returns a `GraphOutput`, or a list of `StreamPart`.
            **how: ``thread_id`` (instead of the config's), ``context`` (what tasks read as ``runtime.context``),
                ``durability`` (``"sync"``, ``"async"`` or ``"exit"``), ``control`` (a `RunControl`),
                ``idempotency_key``, ``durable_stream`` (whether what bodies write to the stream is stored).

        Returns:
            What the function returned; when it asked instead, ``{"__interrupt__": [Interrupt, ...]}``.

        Raises:
            ConfigError: an argument is wrong, such as a missing thread id where a checkpointer needs one.
            EmptyInputError: None was given and there is nothing to resume.
            ThreadBusy: another run holds the thread.
            Exception: whatever the workflow raised; ``invoke(None, config)`` goes on from there.
        """
        if stream_mode not in (None, "values"):
            return list(self.stream(input, config, stream_mode=stream_mode, version=version, **how))
        nested = nested_call(self._function, self._settings, input, config, version=version, **how)
        if nested is not None:
            return nested_output(nested.result(), version)
        return output(run_blocking(self._invocation(input, config, **how)), version)

    @overload
    async def ainvoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Literal["values"] | None = None,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> Out: ...

    @overload
    async def ainvoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Literal["values"] | None = None,
        version: Literal["v2"],
        **how: Unpack[How],
    ) -> GraphOutput[Out]: ...

    @overload
    async def ainvoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: EventMode,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> list[dict[str, Any]]: ...

    @overload
    async def ainvoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: SaidMode | Modes,
        version: Literal["v1"] = "v1",
        **how: Unpack[How],
    ) -> list[Any]: ...

    @overload
    async def ainvoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: EventMode | SaidMode | Modes,
        version: Literal["v2"],
        **how: Unpack[How],
    ) -> list[StreamPart]: ...

    async def ainvoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: Any = None,
        version: Any = "v1",
        **how: Any,
    ) -> Any:
        """As `invoke`, without blocking the running event loop; a sync workflow runs on a thread."""
        if stream_mode not in (None, "values"):
            chunks = self.astream(input, config, stream_mode=stream_mode, version=version, **how)
            return [chunk async for chunk in chunks]
        nested = nested_call(self._function, self._settings, input, config, version=version, **how)
        if nested is not None:
            return nested_output(await nested, version)
        return output(await run_awaiting(self._invocation(input, config, **how)), version)

    def batch(
        self,
        inputs: Sequence[In],
        config: Config | Sequence[Config] | None = None,
        *,
        return_exceptions: bool = False,
        **how: Any,
    ) -> list[Out]:
        """Run the workflow on several inputs side by side.

        Args:
            inputs: one for each run.
            config: one for all, or one for each; ``max_concurrency`` of the first bounds how many run at once.
            return_exceptions: whether an exception takes the place of its run's value instead of being raised.
            **how: as for `invoke`.

        Returns:
            The values, in the order of the inputs.

        >>> from durably.func import entrypoint
        >>> @entrypoint()
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double.batch([1, 2, 3])
        [2, 4, 6]
        """
        configs = _each_config(config, len(inputs))
        if not inputs:
            return []
        at_once = configs[0].get("max_concurrency") or min(len(inputs), 64)
        with ThreadPoolExecutor(at_once, thread_name_prefix="durably-batch") as executor:
            futures = [
                executor.submit(copy_context().run, lambda i=i, c=c: self.invoke(i, c, **how))
                for i, c in zip(inputs, configs, strict=True)
            ]
            outcomes = [future.exception() or future.result() for future in futures]
        return _outcomes(outcomes, [future.exception() for future in futures], return_exceptions)

    async def abatch(
        self,
        inputs: Sequence[In],
        config: Config | Sequence[Config] | None = None,
        *,
        return_exceptions: bool = False,
        **how: Any,
    ) -> list[Out]:
        """As `batch`, on the running event loop."""
        configs = _each_config(config, len(inputs))
        at_once = asyncio.Semaphore((configs[0].get("max_concurrency") if configs else None) or len(inputs) or 1)

        async def one(value: In, config: Config) -> Any:
            async with at_once:
                return await self.ainvoke(value, config, **how)

        runs = (one(value, config) for value, config in zip(inputs, configs, strict=True))
        return cast("list[Out]", await asyncio.gather(*runs, return_exceptions=return_exceptions))

    # Schemas.

    def get_input_jsonschema(self) -> dict[str, Any]:
        """The JSON schema of the input, from the annotation of the function's first parameter; ``{}`` says anything."""
        return input_schema_of(self._function)

    def get_output_jsonschema(self) -> dict[str, Any]:
        """The JSON schema of the return value, from the function's return annotation."""
        return output_schema_of(self._function)

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """The JSON schema of ``context=``, None where any will do."""
        return context_schema_of(self._settings.context_schema)

    def _invocation(self, input: Any, config: Config | None, **how: Any) -> Invocation:
        return invocation_of(self._function, self._settings, input, config, **how)


def _each_config(config: Config | Sequence[Config] | None, count: int) -> list[Config]:
    if config is None or isinstance(config, Mapping):
        return [cast("Config", config or {})] * count
    if len(config) != count:
        raise ConfigError(f"{len(config)} configs were given for {count} inputs: give one for all, or one for each")
    return list(config)


def _outcomes(values: list[Any], errors: list[BaseException | None], return_exceptions: bool) -> list[Any]:
    for error in errors:
        if error is not None and not (return_exceptions and isinstance(error, Exception)):
            raise error
    return values
