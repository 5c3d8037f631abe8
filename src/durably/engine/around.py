"""Bodies with instruments around them: `durably.instruments` as the engine runs it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..errors import ConfigError
from .function import FinalValue
from .steps import Step, Steps, adrive, drive

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..instruments import Instrument
    from ..runtime import Runtime
    from .call import TaskFuture

__all__ = ["BodyView", "run_instrumented"]

Advice: TypeAlias = "Generator[Awaitable[Any] | None, Any, None]"


class BodyView:
    """What instruments see of a body: a `durably.instruments.Body`."""

    __slots__ = ("_call",)

    def __init__(self, call: TaskFuture[Any]) -> None:
        self._call = call

    @property
    def name(self) -> str:
        """Of the workflow or task."""
        return self._call.function.name

    @property
    def kind(self) -> Literal["workflow", "task"]:
        """What it is."""
        return "workflow" if self._call.function.is_workflow else "task"

    @property
    def is_root(self) -> bool:
        """Whether it is the run's own workflow."""
        return self._call.parent is None

    @property
    def is_async(self) -> bool:
        """Whether it runs on an event loop."""
        return self._call.function.is_async

    @property
    def input(self) -> Any:
        """A workflow's input; a task's arguments by name, without injected ones."""
        call = self._call
        return call.args[0] if call.function.is_workflow else call.function.parameters.named(call.args, call.kwargs)

    @property
    def config(self) -> Mapping[str, Any]:
        """As the body sees it."""
        return self._call.config

    @property
    def runtime(self) -> Runtime[Any]:
        """Which run, thread, call and attempt it is."""
        return self._call.runtime()

    @property
    def labels(self) -> dict[str, Any]:
        """What says where a message comes from."""
        call = self._call
        place = "|".join(reversed([f"{body.function.name}:{body.id}" for body in call.lineage()]))
        labels = {
            "task": call.function.name,
            "task_id": call.id,
            "run_id": call.run.run_id,
            "langgraph_node": call.function.name,
            "langgraph_triggers": ("__start__" if call.function.is_workflow else "__pregel_push",),
            "langgraph_checkpoint_ns": place,
            "checkpoint_ns": place,
        }
        thread_id = call.run.options.thread_id
        return labels if thread_id is None else {"thread_id": thread_id, **labels}

    def configure(self, **entries: Any) -> None:
        """Change entries of the config that this attempt of the body sees."""
        self._call.config = {**self._call.config, **entries}

    def listens(self, mode: str) -> bool:
        """Whether anybody streams this mode, and would be shown what this body emits; or whether it is stored for later."""
        return self._call.run.keeps_stream or self._call.env.hears(mode)

    def skip(self, mode: str, id: str) -> None:
        """Take the thing with this id as shown."""
        self._call.run.recorder.meets(id)
        self._call.env.skip(mode, id)

    def emit(self, mode: str, chunk: Any, *, piece_of: str = "", whole: str = "") -> None:
        """Hand a chunk to whoever streams this mode."""
        self._call.alive()
        self._call.hand_over(mode, chunk, piece_of=piece_of, whole=whole)


class Called:
    """The step at which the function itself is called, in the context that the instruments have set up."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def block(self) -> Any:
        """Call a sync function."""
        return self._function()

    async def wait(self) -> Any:
        """Call an async one, and await what it gives."""
        return await self._function()


class Awaited:
    """What an instrument waits for."""

    __slots__ = ("_awaitable",)

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._awaitable = awaitable

    def block(self) -> Any:
        """Around a sync body there is no event loop to wait on."""
        raise ConfigError(
            f"an instrument yielded {self._awaitable!r} around a sync body, where nothing can be awaited: "
            "ask body.is_async first"
        )

    async def wait(self) -> Any:
        """Await it."""
        return await self._awaitable


def run_instrumented(call: TaskFuture[Any], instruments: tuple[Instrument, ...], function: Callable[[], Any]) -> Any:
    """Call a body's function with the instruments around it: its value, or for an async one a coroutine."""
    steps = _around(instruments, BodyView(call), Called(function))
    return adrive(steps) if call.function.is_async else drive(steps)


def _around(instruments: tuple[Instrument, ...], body: BodyView, called: Step) -> Steps[Any]:
    if not instruments:
        return (yield called)
    advice = instruments[0](body)
    inner = _around(instruments[1:], body, called)
    if not (yield from _advanced(advice, partial(next, advice))):
        return (yield from inner)
    try:
        value = yield from inner
    except GeneratorExit:  # nothing may be awaited any more
        advice.close()
        raise
    except BaseException as error:
        yield from _told(advice, error)
        raise
    returned = value.value if isinstance(value, FinalValue) else value
    yield from _finished(advice, partial(advice.send, returned))
    return value


def _told(advice: Advice, error: BaseException) -> Steps[None]:
    """Raise the body's exception in an instrument, which may raise it again, or be content with it."""
    try:
        yield from _finished(advice, partial(advice.throw, error))
    except BaseException as raised:
        if raised is not error:
            raise


def _finished(advice: Advice, resume: Callable[[], Any]) -> Steps[None]:
    if (yield from _advanced(advice, resume)):
        advice.close()
        name = getattr(advice, "__name__", repr(advice))
        raise ConfigError(f"instrument {name!r} let the body run twice: it may have one bare `yield`")


def _advanced(advice: Advice, resume: Callable[[], Any]) -> Steps[bool]:
    """Run an instrument until it lets the body run, and then True, or to its end."""
    while True:
        try:
            awaitable = resume()
        except StopIteration:
            return False
        if awaitable is None:
            return True
        try:
            value = yield Awaited(awaitable)
        except BaseException as error:
            resume = partial(advice.throw, error)
        else:
            resume = partial(advice.send, value)
