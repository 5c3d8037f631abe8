"""What one invocation of a workflow amounts to: a run of its own, or a call of the run it is made in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
from msgspec.structs import replace

from .checkpoint.base import BaseCheckpointer
from .context import current
from .engine.attempt import Invocation
from .engine.call import Env
from .engine.ending import Asked
from .engine.function import Function, Policies
from .engine.leash import Leash
from .engine.options import merge_configs, options_from
from .engine.request import Fork
from .engine.scope import Scope
from .engine.shells import run_awaiting, run_blocking
from .engine.stream import Channel
from .errors import ConfigError, InvalidUpdateError
from .instruments import installed
from .moments import Moments
from .parts import STREAM_MODES
from .schema import context_as
from .types import MISSING, Command, GraphOutput

if TYPE_CHECKING:
    from uuid import UUID

    from .cache.base import BaseCache
    from .engine.call import TaskFuture
    from .runtime import RunControl
    from .store.base import BaseStore
    from .types import Durability

__all__ = [
    "Config",
    "How",
    "Settings",
    "channel_for",
    "invocation_of",
    "modes_of",
    "nested_call",
    "nested_output",
    "output",
]

Config = Mapping[str, Any]


class How(TypedDict, total=False):
    """The keywords by which an invocation says how to run."""

    thread_id: str | UUID | None
    context: Any
    durability: Durability | None
    control: RunControl | None
    idempotency_key: str | None
    durable_stream: bool | None


KEYWORDS = frozenset(How.__annotations__)
OF_ONE_RUN = frozenset(("run_name", "run_id"))
"""The entries of a config that a nested workflow does not inherit."""


class Settings(msgspec.Struct, frozen=True):
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
        durable_stream: whether what bodies write to the stream is stored.
        moments: tells how its runs stood after each of their steps, None where that cannot be told.
    """

    checkpointer: BaseCheckpointer | bool | None = None
    store: BaseStore | None = None
    cache: BaseCache | None = None
    context_schema: type[Any] | None = None
    defaults: Policies = msgspec.field(default_factory=Policies)
    strict: bool = False
    on_busy: str = "reject"
    max_workers: int | None = None
    config: Config = msgspec.field(default_factory=dict)
    durable_stream: bool = False
    moments: Moments | None = None

    @property
    def storage(self) -> BaseCheckpointer | None:
        """The checkpointer, if it is one of the workflow's own."""
        return None if isinstance(self.checkpointer, bool) else self.checkpointer


def invocation_of(
    function: Function,
    settings: Settings,
    input: Any,
    config: Config | None,
    *,
    thread_id: str | UUID | None = None,
    context: Any = None,
    channel: Channel | None = None,
    fork: Fork | None = None,
    **how: Any,
) -> Invocation:
    """A run of its own.

    Args:
        function: the workflow's.
        settings: the workflow's.
        input: what `Workflow.invoke` was given.
        config: likewise.
        thread_id: likewise.
        context: likewise.
        channel: takes chunks, if anybody listens.
        fork: how to fork the run that the config's checkpoint names.
        **how: ``durability``, ``control``, ``idempotency_key`` and ``durable_stream``.

    Raises:
        TypeError: there is no such argument.
        ConfigError: an argument is wrong.
    """
    if not how.keys() <= KEYWORDS:
        unknown = min(how.keys() - KEYWORDS)
        raise TypeError(
            f"an invocation takes no {unknown!r}: beside input and config give {', '.join(sorted(KEYWORDS))}"
        )
    merged = merge_configs(settings.config, config)
    keeps = how.pop("durable_stream", None)
    if keeps is None:
        keeps = settings.durable_stream
    options = options_from(merged, thread_id=thread_id, max_workers=settings.max_workers, durable_stream=keeps, **how)
    storage = settings.storage
    if storage is not None and options.thread_id is None:
        raise _no_thread(function.name)
    kind, value = _asked_for(input, storage, settings.moments)
    env = Env(
        config=options.config,
        context=context_as(settings.context_schema, context, function.name),
        store=settings.store,
        cache=settings.cache,
        policies=settings.defaults,
        taps=((channel, 0),) if channel is not None else (),
        holding=_held_here(),
        instruments=installed(channel.modes if channel is not None else ()),
    )
    return Invocation(
        function=function,
        checkpointer=storage,
        strict=settings.strict,
        options=options,
        env=env,
        kind=kind,
        value=value,
        leash=Leash(),
        on_busy=settings.on_busy,
        fork=fork,
        moments=settings.moments,
    )


def _held_here() -> frozenset[tuple[int, str]]:
    """The threads held by the run under way, if there is one: another run must not wait for them."""
    place = current.get()
    return place.body.env.holding if isinstance(place, Scope) else frozenset()


def nested_call(
    function: Function, settings: Settings, input: Any, config: Config | None, *, version: str, **how: Any
) -> TaskFuture[Any] | None:
    """Inside a run, a call of that run; None outside one.

    A workflow becomes a part of the run when the config names no thread or the run's own, and the workflow has no other
    checkpointer. Otherwise it is a run of its own that is recorded as one call.
    """
    place = current.get()
    if not isinstance(place, Scope):
        return None
    run, env = place.body.run, place.body.env
    inherited = {name: value for name, value in env.config.items() if name not in OF_ONE_RUN}
    merged = merge_configs(inherited, settings.config, config)
    thread = how.get("thread_id") or ((config or {}).get("configurable") or {}).get("thread_id")
    elsewhere = thread is not None and str(thread) != run.options.thread_id
    if elsewhere or settings.storage not in (None, run.checkpointer):
        return run.call(place, _independent(function, settings, merged, version, how), (input,), {})
    if isinstance(input, Command):
        raise ConfigError(
            f"workflow {function.name!r} runs as a part of the run that calls it: answer its questions by resuming that run"
        )
    return run.call(place, function, (input,), {}, _nested_env(place, function, settings, merged, how.get("context")))


def _nested_env(place: Scope, function: Function, settings: Settings, config: Config, context: Any) -> Env:
    env, memory = place.body.env, place.body.run.memory
    above = (part.rpartition(":")[0] for part in env.namespace)
    path = "/".join((*above, function.name)) if settings.checkpointer is True else ""
    return replace(
        env,
        config=config,
        context=env.context if context is None else context_as(settings.context_schema, context, function.name),
        store=settings.store or env.store,
        cache=settings.cache or env.cache,
        policies=settings.defaults,
        previous=memory.get(path, MISSING),
        memory=path,
        journaled=env.journaled and settings.checkpointer is not False,
    )


def _independent(function: Function, settings: Settings, config: Config, version: str, how: dict[str, Any]) -> Function:
    """A function that runs a workflow as a run of its own."""

    def blocking(input: Any) -> Any:
        return output(run_blocking(invocation_of(function, settings, input, config, **how)), version)

    async def awaiting(input: Any) -> Any:
        return output(await run_awaiting(invocation_of(function, settings, input, config, **how)), version)

    call = awaiting if function.is_async else blocking
    return Function(call, function.name, function.is_async, is_own=False)


def _asked_for(input: Any, checkpointer: BaseCheckpointer | None, moments: Moments | None) -> tuple[str, Any]:
    """What an input stands for: a new run, going on, or an answer."""
    if isinstance(input, Command):
        if input.update is not None or input.goto or input.graph is not None:
            return "input", _moved(input, moments)
        if checkpointer is None:
            raise ConfigError(
                "a question can only be answered where the run was stored: declare @entrypoint(checkpointer=...)"
            )
        return ("resume", None) if input.resume is MISSING else ("answer", input.resume)
    if input is None and checkpointer is not None:
        return "resume", None
    return "input", input


def _moved(command: Command, moments: Moments | None) -> Command:
    """A command that changes the state, or where the run goes on, and answers nothing."""
    if moments is None or command.graph is not None:
        raise InvalidUpdateError(
            "Command(update=..., goto=..., graph=...) is for graphs: a workflow takes Command(resume=answer)"
        )
    if command.resume is not MISSING:
        raise InvalidUpdateError(
            "Command(resume=..., update=...) does two things at once: update the state with update_state(), then answer"
        )
    return dataclasses.replace(command, resume=None)


def _no_thread(name: str) -> ConfigError:
    return ConfigError(
        f"workflow {name!r} has a checkpointer, so it needs to know which thread the run belongs to: "
        f'{name}.invoke(input, {{"configurable": {{"thread_id": "1"}}}}) or {name}.invoke(input, thread_id="1")'
    )


def output(result: Any, version: str) -> Any:
    """What `Workflow.invoke` returns for the end of an attempt."""
    check_version(version)
    if version == "v2":
        return GraphOutput(result.value or None, result.questions) if isinstance(result, Asked) else GraphOutput(result)
    return result.as_value(list(result.questions)) if isinstance(result, Asked) else result


def nested_output(value: Any, version: str) -> Any:
    """What `Workflow.invoke` returns inside a run. A run of its own has made it already, for that is what is recorded."""
    return value if isinstance(value, GraphOutput) else output(value, version)


def channel_for(stream_mode: str | Sequence[str], subgraphs: bool = False, version: str = "v1") -> Channel:
    """The channel for one stream mode, or several.

    Raises:
        ConfigError: there is no such mode, or no such version.
    """
    modes = modes_of(stream_mode, STREAM_MODES)
    check_version(version)
    return Channel(frozenset(modes), tagged=not isinstance(stream_mode, str), nested=subgraphs, version=version)


def modes_of(stream_mode: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """One stream mode, or several, as a tuple.

    Raises:
        ConfigError: one is not among those known here.
    """
    modes = (stream_mode,) if isinstance(stream_mode, str) else tuple(stream_mode)
    unknown = [mode for mode in modes if mode not in known]
    if unknown or not modes:
        wrong = unknown[0] if unknown else stream_mode
        what = f"unknown stream mode {wrong!r}" if wrong not in STREAM_MODES else f"stream mode {wrong!r} is not stored"
        raise ConfigError(f"{what}: give one of {', '.join(map(repr, known))}, or a list of them")
    return modes


def check_version(version: str) -> None:
    """Refuse a version that there is none of."""
    if version not in ("v1", "v2"):
        raise ConfigError(f"unknown version {version!r}: give 'v1' or 'v2'")
