"""LangChain: chat models that stream, runs that tracers see, workflows as a step of a chain.

A program that uses LangChain need not import this module: the first run that begins after LangChain's callbacks were
imported does, and from then on

- what ``config`` says of callbacks, tags and metadata reaches every runnable called in a body, without being passed on;
- workflows and tasks are parent runs of the models called in them, for LangSmith and every other callback handler;
- the stream mode ``messages`` carries the tokens of every chat model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.callbacks.manager import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import (
    CONFIG_KEYS,
    DEFAULT_RECURSION_LIMIT,
    RunnableConfig,
    _set_config_context,
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    merge_configs,
    patch_config,
    var_child_runnable_config,
)

from ..errors import GraphInterrupt
from ..instruments import install
from .langchain_messages import MessageStream

if TYPE_CHECKING:
    from ..instruments import Body
    from ..workflow import Workflow

__all__ = ["as_runnable"]

In = TypeVar("In")
Out = TypeVar("Out")
ChainRun = AsyncCallbackManagerForChainRun | CallbackManagerForChainRun


# Runs of bodies.


def traced(body: Body) -> Generator[Awaitable[Any] | None, Any, None]:
    """The instrument: a body is a run of LangChain's, whose config its context carries."""
    follows = body.listens("messages")
    if body.kind == "task" and not follows and _nobody_looks():
        return None
    config = _config_of(body)
    manager: Any = (get_async_callback_manager_for_config if body.is_async else get_callback_manager_for_config)(config)
    if manager.handlers or follows:
        config["metadata"] = {**config.get("metadata", {}), **body.labels}
        manager.add_metadata(body.labels)
    run = (yield from _begun(body, config, manager)) if manager.handlers else None
    callbacks = manager if run is None else run.get_child()
    stream = MessageStream.among(callbacks, body)
    _set_config_context(patch_config(config, callbacks=callbacks))
    if callbacks.handlers:  # for those who pass their config on; the name is not for what they call
        body.configure(callbacks=callbacks, **{name: None for name in ("run_name", "run_id") if name in body.config})
    try:
        result = yield None
    except BaseException as error:
        yield from _ended(body, run, error)
        raise
    if stream is not None:
        stream.returned(result)
    return (yield from _ended(body, run, None, result))


def _nobody_looks() -> bool:
    """Whether the body around this one had no handlers, so that it has set up all that is needed."""
    config = var_child_runnable_config.get()
    return config is not None and not getattr(config.get("callbacks"), "handlers", True)


def _config_of(body: Body) -> RunnableConfig:
    """LangChain's config around the body; a workflow has one of its own besides."""
    if body.kind == "task":
        return ensure_config()
    own = {name: value for name, value in body.config.items() if name in CONFIG_KEYS}
    return merge_configs(var_child_runnable_config.get(), cast("RunnableConfig", own))


def _begun(body: Body, config: RunnableConfig, manager: Any) -> Generator[Awaitable[Any], Any, ChainRun]:
    """The body's run."""
    name = (config.get("run_name") if body.kind == "workflow" else None) or body.name
    started = manager.on_chain_start(None, body.input, name=name, run_id=config.get("run_id"))
    run: ChainRun = (yield started) if body.is_async else started
    return run


def _ended(
    body: Body, run: ChainRun | None, error: BaseException | None, result: Any = None
) -> Generator[Awaitable[Any], Any, None]:
    """Tell how it ended. A question is no error: it is what the body gave."""
    if run is None:
        return
    if isinstance(error, GraphInterrupt):
        questions = error.args[0] if error.args else ()
        error, result = None, {"__interrupt__": [question.value for question in questions]}
    told: Any = run.on_chain_end(result) if error is None else run.on_chain_error(error)
    if body.is_async:
        yield told


# Workflows as runnables.


def as_runnable(workflow: Workflow[In, Out], *, stream_mode: str | None = None) -> Runnable[In, Out]:
    """A workflow as a step of a LangChain chain.

    Args:
        workflow: what to run. The chain's config is passed on, with callbacks, tags, metadata and ``configurable``; so
            is what the runnable is bound to, such as ``thread_id``.
        stream_mode: what ``stream`` and ``astream`` yield: the chunks of this mode, or None for the returned value.

    Returns:
        A `langchain_core.runnables.Runnable`.

    >>> from durably import entrypoint
    >>> from langchain_core.runnables import RunnableLambda
    >>> @entrypoint()
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> chain = RunnableLambda(lambda text: int(text)) | as_runnable(double) | RunnableLambda(str)
    >>> chain.invoke("4")
    '8'
    >>> chain.batch(["1", "2"])
    ['2', '4']
    """
    return WorkflowRunnable(workflow, stream_mode)


class WorkflowRunnable(Runnable[In, Out]):
    """What `as_runnable` returns."""

    def __init__(self, workflow: Workflow[In, Out], stream_mode: str | None) -> None:
        self._workflow: Any = workflow
        self.name = workflow.name
        self._mode: Any = stream_mode

    def invoke(self, input: In, config: RunnableConfig | None = None, **kwargs: Any) -> Out:
        """As `Workflow.invoke`."""
        return cast("Out", self._workflow.invoke(input, _passed_on(config), **kwargs))

    async def ainvoke(self, input: In, config: RunnableConfig | None = None, **kwargs: Any) -> Out:
        """As `Workflow.ainvoke`."""
        return cast("Out", await self._workflow.ainvoke(input, _passed_on(config), **kwargs))

    def stream(self, input: In, config: RunnableConfig | None = None, **kwargs: Any | None) -> Iterator[Out]:
        """The chunks of the stream mode, or the returned value."""
        if self._mode is None:
            yield self.invoke(input, config, **kwargs)
        else:
            yield from self._workflow.stream(input, _passed_on(config), stream_mode=self._mode, **kwargs)

    async def astream(
        self, input: In, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> AsyncIterator[Out]:
        """As `stream`, for ``async for``."""
        if self._mode is None:
            yield await self.ainvoke(input, config, **kwargs)
        else:
            async for chunk in self._workflow.astream(input, _passed_on(config), stream_mode=self._mode, **kwargs):
                yield chunk


def _passed_on(config: RunnableConfig | None) -> Mapping[str, Any]:
    """A chain's config, without the limit that LangChain fills in: it counts other things."""
    return {
        name: value
        for name, value in (config or {}).items()
        if value is not None and not (name == "recursion_limit" and value == DEFAULT_RECURSION_LIMIT)
    }


install(traced)
