"""`Workflow`: what `@entrypoint` returns. Thin shells around the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from .context import current
from .engine.attempt import Asked, Invocation
from .engine.call import Env
from .engine.function import Function, Policies
from .engine.options import Options, merge_configs, options_from
from .engine.run import Leash
from .engine.scope import Scope
from .engine.shells import run_awaiting, run_blocking, stream_awaiting, stream_blocking
from .engine.stream import Channel
from .errors import ConfigError, InvalidUpdateError
from .schema import context_as, context_schema_of, input_schema_of, output_schema_of
from .types import MISSING, STREAM_MODES, Command, GraphOutput, StreamMode

if TYPE_CHECKING:
    from uuid import UUID

    from .cache.base import BaseCache
    from .checkpoint.base import BaseCheckpointer
    from .engine.call import TaskFuture
    from .runtime import RunControl
    from .store.base import BaseStore
    from .types import Durability

__all__ = ["Workflow"]

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What `@entrypoint` was given, beside the function.

    Args:
        checkpointer: where runs are stored; None inherits from a workflow that calls this one, False stores nothing, True
            keeps ``previous`` across the runs of the calling workflow.
        store: long-term memory.
        cache: results shared across runs.
        context_schema: what ``context=`` has to be.
        defaults: the policies of the tasks.
        strict: whether replay refuses differences.
        on_busy: what a run does whose thread is busy.
        max_workers: how many sync bodies may be under way at once.
        config: merged under that of each invocation.
    """

    checkpointer: BaseCheckpointer | bool | None = None
    store: BaseStore | None = None
    cache: BaseCache | None = None
    context_schema: type[Any] | None = None
    defaults: Policies = Policies()
    strict: bool = False
    on_busy: str = "reject"
    max_workers: int | None = None
    config: Config = field(default_factory=dict)


class Workflow(Generic[In, Out]):
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
    def checkpointer(self) -> BaseCheckpointer | None:
        """Where its runs are stored, if anywhere."""
        checkpointer = self._settings.checkpointer
        return None if isinstance(checkpointer, bool) else checkpointer

    def with_config(self, config: Config | None = None, **entries: Any) -> Workflow[In, Out]:
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
        return Workflow(self._function, replace(self._settings, config=merged))

    # Running.

    @overload
    def invoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        context: Any = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: Literal["v1"] = "v1",
    ) -> Out: ...

    @overload
    def invoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        context: Any = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: Literal["v2"],
    ) -> GraphOutput[Out]: ...

    def invoke(self, input: In | Command | None, config: Config | None = None, *, version: str = "v1", **how: Any) -> Any:
        """Run the workflow, or go on with a run, and wait for what it returns.

        Args:
            input: the workflow's input; ``Command(resume=answer)`` answers a question; None resumes a run that failed, was
                stopped, or whose process died.
            config: as in LangGraph: ``{"configurable": {"thread_id": ...}, "tags": [...], "metadata": {...},
                "max_concurrency": n, "recursion_limit": n}``; and ``"grace"``, the seconds for which a failing run
                waits for sync tasks it has begun.
            version: ``"v2"`` returns a `GraphOutput`.
            **how: ``thread_id`` (instead of the config's), ``context`` (what tasks read as ``runtime.context``),
                ``durability`` (``"sync"``, ``"async"`` or ``"exit"``), ``control`` (a `RunControl`).

        Returns:
            What the function returned; when it asked instead, ``{"__interrupt__": [Interrupt, ...]}``.

        Raises:
            ConfigError: an argument is wrong, such as a missing thread id where a checkpointer needs one.
            EmptyInputError: None was given and there is nothing to resume.
            ThreadBusy: another run holds the thread.
            Exception: whatever the workflow raised; ``invoke(None, config)`` goes on from there.
        """
        nested = self._nested(input, config, how)
        if nested is not None:
            return nested.result()
        return _output(run_blocking(self._invocation(input, config, **how)), version)

    @overload
    async def ainvoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        context: Any = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: Literal["v1"] = "v1",
    ) -> Out: ...

    @overload
    async def ainvoke(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        context: Any = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: Literal["v2"],
    ) -> GraphOutput[Out]: ...

    async def ainvoke(
        self, input: In | Command | None, config: Config | None = None, *, version: str = "v1", **how: Any
    ) -> Any:
        """As `invoke`, without blocking the running event loop; a sync workflow runs on a thread."""
        nested = self._nested(input, config, how)
        if nested is not None:
            return await nested
        return _output(await run_awaiting(self._invocation(input, config, **how)), version)

    def stream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        **how: Any,
    ) -> Iterator[Any]:
        """Run the workflow and yield chunks as they come.

        Args:
            input: as for `invoke`.
            config: as for `invoke`.
            stream_mode: ``"updates"`` (``{task: result}`` as each task finishes, at last ``{workflow: value}``),
                ``"values"`` (what the workflow returns), ``"custom"`` (what was written to the stream writer); or a list
                of these, and then chunks come as ``(mode, chunk)``.
            subgraphs: whether chunks of nested workflows come too, each with its namespace in front.
            **how: as for `invoke`.

        Returns:
            An iterator. Leaving it early stops the run, which can be resumed.

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
        channel = _channel(stream_mode, subgraphs)
        return stream_blocking(self._invocation(input, config, channel=channel, **how), channel)

    def astream(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        stream_mode: StreamMode | Sequence[StreamMode] = "updates",
        subgraphs: bool = False,
        **how: Any,
    ) -> AsyncIterator[Any]:
        """As `stream`, for ``async for``."""
        channel = _channel(stream_mode, subgraphs)
        return stream_awaiting(self._invocation(input, config, channel=channel, **how), channel)

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

        return await asyncio.gather(
            *(one(value, config) for value, config in zip(inputs, configs, strict=True)), return_exceptions=return_exceptions
        )

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

    # How an invocation is put together.

    def _invocation(
        self,
        input: Any,
        config: Config | None,
        *,
        thread_id: str | UUID | None = None,
        context: Any = None,
        durability: str | None = None,
        control: RunControl | None = None,
        channel: Channel | None = None,
    ) -> Invocation:
        settings = self._settings
        options = options_from(
            merge_configs(settings.config, config),
            thread_id=thread_id,
            durability=durability,
            control=control,
            max_workers=settings.max_workers,
        )
        checkpointer = self.checkpointer
        if checkpointer is not None and options.thread_id is None:
            raise _no_thread(self.name)
        kind, value = _asked_for(input, checkpointer)
        return Invocation(
            function=self._function,
            checkpointer=checkpointer,
            strict=settings.strict,
            options=options,
            env=self._env(options, context, channel),
            kind=kind,
            value=value,
            leash=Leash(),
        )

    def _env(self, options: Options, context: Any, channel: Channel | None) -> Env:
        settings = self._settings
        return Env(
            config=options.config,
            context=context_as(settings.context_schema, context, self.name),
            store=settings.store,
            cache=settings.cache,
            policies=settings.defaults,
            taps=((channel, 0),) if channel is not None else (),
        )

    def _nested(self, input: Any, config: Config | None, how: dict[str, Any]) -> TaskFuture[Any] | None:
        """Inside a run: a call of that run; None outside one."""
        place = current.get()
        if not isinstance(place, Scope):
            return None
        return nested_call(self, place, input, config, how)


def nested_call(
    workflow: Workflow[Any, Any], place: Scope, input: Any, config: Config | None, how: dict[str, Any]
) -> TaskFuture[Any]:
    """Invoke a workflow inside a run: as a part of that run, or as a run of its own that is recorded as one call."""
    settings, body = workflow._settings, place.body
    merged = merge_configs(body.env.config, settings.config, config)
    thread = how.get("thread_id") or (config or {}).get("configurable", {}).get("thread_id")
    if workflow.checkpointer is not None or (thread is not None and str(thread) != body.run.thread_id):
        return place.body.run.call(place, _independent(workflow, merged, how), (input,), {})
    if isinstance(input, Command) or (input is None and False):
        raise ConfigError(
            f"workflow {workflow.name!r} runs as a part of the run that calls it: answer its questions by resuming that run"
        )
    env = replace(
        body.env,
        config=merged,
        context=context_as(settings.context_schema, how["context"], workflow.name) if how.get("context") is not None else body.env.context,
        store=settings.store or body.env.store,
        cache=settings.cache or body.env.cache,
        policies=settings.defaults,
        previous=MISSING,
        namespace=(*body.env.namespace, workflow.name),
        journaled=body.env.journaled and settings.checkpointer is not False,
    )
    return place.body.run.call(place, workflow._function, (input,), {}, env)


def _independent(workflow: Workflow[Any, Any], config: Config, how: dict[str, Any]) -> Function:
    """A function that runs a workflow as a run of its own."""
    own_thread = {k: v for k, v in how.items() if k != "version"}
    version = how.get("version", "v1")

    def blocking(input: Any) -> Any:
        return _output(run_blocking(workflow._invocation(input, config, **own_thread)), version)

    async def awaiting(input: Any) -> Any:
        return _output(await run_awaiting(workflow._invocation(input, config, **own_thread)), version)

    is_async = workflow._function.is_async
    return Function(awaiting if is_async else blocking, workflow.name, is_async)


def _asked_for(input: Any, checkpointer: BaseCheckpointer | None) -> tuple[str, Any]:
    """What an input stands for: a new run, going on, or an answer."""
    if isinstance(input, Command):
        if input.update is not None or input.goto or input.graph is not None:
            raise InvalidUpdateError("Command(update=..., goto=..., graph=...) is for graphs: a workflow takes Command(resume=answer)")
        if checkpointer is None:
            raise ConfigError("a question can only be answered where the run was stored: declare @entrypoint(checkpointer=...)")
        return ("resume", None) if input.resume is MISSING else ("answer", input.resume)
    if input is None and checkpointer is not None:
        return "resume", None
    return "input", input


def _no_thread(name: str) -> ConfigError:
    return ConfigError(
        f"workflow {name!r} has a checkpointer, so it needs to know which thread the run belongs to: "
        f'{name}.invoke(input, {{"configurable": {{"thread_id": "1"}}}}) or {name}.invoke(input, thread_id="1")'
    )


def _output(result: Any, version: str) -> Any:
    if version == "v2":
        return GraphOutput(None, result.questions) if isinstance(result, Asked) else GraphOutput(result)
    if version != "v1":
        raise ConfigError(f"unknown version {version!r}: give 'v1' or 'v2'")
    return {"__interrupt__": list(result.questions)} if isinstance(result, Asked) else result


def _channel(stream_mode: str | Sequence[str], subgraphs: bool) -> Channel:
    single = isinstance(stream_mode, str)
    modes = (stream_mode,) if isinstance(stream_mode, str) else tuple(stream_mode)
    unknown = [mode for mode in modes if mode not in STREAM_MODES]
    if unknown or not modes:
        raise ConfigError(
            f"unknown stream mode {unknown[0] if unknown else stream_mode!r}: give one of {', '.join(map(repr, STREAM_MODES))}, or a list"
        )
    return Channel(frozenset(modes), tagged=not single, nested=subgraphs)


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
