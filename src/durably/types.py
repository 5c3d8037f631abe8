"""The words users say: policies, questions and answers, snapshots, stream modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar, overload

import msgspec

from .context import here
from .errors import ConfigError, DeclarationError
from .parts import (
    CheckpointStreamPart,
    CustomStreamPart,
    DebugStreamPart,
    MessagesStreamPart,
    StreamEvent,
    StreamMode,
    StreamPart,
    StreamWriter,
    TasksStreamPart,
    UpdatesStreamPart,
    ValuesStreamPart,
)

__all__ = [
    "CachePolicy",
    "CheckpointStreamPart",
    "Command",
    "CustomStreamPart",
    "DebugStreamPart",
    "Display",
    "Durability",
    "GraphOutput",
    "Interrupt",
    "MessagesStreamPart",
    "Overwrite",
    "PregelTask",
    "RetryPolicy",
    "Send",
    "StateSnapshot",
    "StreamEvent",
    "StreamMode",
    "StreamPart",
    "StreamWriter",
    "TasksStreamPart",
    "TimeoutPolicy",
    "UpdatesStreamPart",
    "ValuesStreamPart",
    "interrupt",
]

T = TypeVar("T")


if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    N = TypeVarWithDefault("N", default=Any)
else:
    N = TypeVar("N")

Durability = Literal["sync", "async", "exit"]
"""When results reach the disk: before the workflow sees them, while it goes on, or once at the end."""


class Missing:
    """Stands for "not given" where None is a value."""

    def __repr__(self) -> str:
        return "<not given>"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Interrupt(Generic[T]):
    """A question that a run has put to people.

    Args:
        value: what was asked.
        id: names the question; stable across attempts, so ``Command(resume={id: answer})`` answers it.
        response_schema: the JSON schema that an answer must fit, None where any will do.
    """

    value: T
    id: str = ""
    response_schema: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[N]):
    """What is handed to ``invoke`` in place of an input, or returned by a node of a graph.

    Args:
        resume: the answer to the one open question, or a dict from question ids to answers. None is an answer too.
        update: for graphs, an update of the state.
        goto: for graphs, where to go: the name of a node, a `Send`, or a list of these. As a return annotation
            ``Command[Literal["a", "b"]]`` says which nodes these can be.
        graph: for graphs, ``Command.PARENT`` where the graph around this one is meant.

    >>> Command(resume="yes").resume
    'yes'
    """

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    graph: str | None = None
    update: Any = None
    resume: Any = MISSING
    goto: Any = ()


class Send(msgspec.Struct, frozen=True):
    """In a graph, run a node in the next step with an input of its own instead of the graph's state.

    Args:
        node: its name.
        arg: its input.

    >>> Send("summarize", {"text": "..."}).node
    'summarize'
    """

    node: str
    arg: Any


class Overwrite(msgspec.Struct, frozen=True):
    """In an update of a graph's state, a value that takes the place of a merged one instead of being merged.

    >>> {"messages": Overwrite([])}
    {'messages': Overwrite(value=[])}
    """

    value: Any


@overload
def interrupt(value: Any, response_schema: type[T]) -> T: ...


@overload
def interrupt(value: Any, response_schema: Any = None) -> Any: ...


def interrupt(value: Any, response_schema: Any = None) -> Any:
    """Ask a question: stop the run, hand ``value`` out, and return the answer once there is one.

    The first time a run comes here it stops, and ``invoke`` returns ``{"__interrupt__": [Interrupt(value, id)]}``. After
    ``invoke(Command(resume=answer), config)`` the workflow runs again from its first line, finished tasks return what
    they returned, and this call returns ``answer``.

    Args:
        value: what to ask; anything that can be stored.
        response_schema: what an answer must look like: a type, a pydantic model, or a JSON schema as a dict. It is stored
            with the question as a JSON schema, and an answer that does not fit is refused with an `InvalidAnswerError`,
            whichever process gives it; the question stays open.

    Returns:
        The answer; with a type or a model as ``response_schema``, as a value of that type.

    Raises:
        GraphInterrupt: to stop the body, a `BaseException`: let it pass.
        OutsideRunError: where no run is under way.
        ConfigError: no answer can be checked against ``response_schema``.

    >>> from durably.checkpoint.memory import InMemorySaver
    >>> from durably.func import entrypoint
    >>> @entrypoint(checkpointer=InMemorySaver())
    ... def greet(name: str) -> str:
    ...     return interrupt("How do I greet?") + ", " + name
    >>> greet.invoke("Ada", thread_id="1")["__interrupt__"][0].value
    'How do I greet?'
    >>> greet.invoke(Command(resume="Good morning"), thread_id="1")
    'Good morning, Ada'
    """
    return here("interrupt()").ask(value, response_schema)


class RetryPolicy(msgspec.Struct, frozen=True):
    """When and how a failed task is tried again.

    Args:
        initial_interval: seconds before the second attempt.
        backoff_factor: by how much the interval grows from one attempt to the next.
        max_interval: the longest interval, in seconds.
        max_attempts: attempts in all, the first one included.
        jitter: whether a random part of up to the interval's half is added, so that many callers do not return at once.
        retry_on: an exception class, several, or a predicate. By default connection errors, server errors (5xx) of the
            common HTTP clients and unknown errors are tried again, programming errors are not.

    >>> RetryPolicy(max_attempts=5, retry_on=ConnectionError).max_attempts
    5
    """

    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    jitter: bool = True
    retry_on: type[BaseException] | Sequence[type[BaseException]] | Callable[[Exception], bool] | None = None

    def __post_init__(self) -> None:
        for name in ("initial_interval", "backoff_factor", "max_interval"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise DeclarationError(f"RetryPolicy({name}={value!r}): give a finite number, zero or more")
        if not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise DeclarationError(
                f"RetryPolicy(max_attempts={self.max_attempts!r}): give a whole number, at least 1 (the first attempt counts)"
            )
        if not _is_retry_condition(self.retry_on):
            raise DeclarationError(
                f"RetryPolicy(retry_on={self.retry_on!r}): give an exception class, a sequence of them, or a function "
                "that takes the exception and returns whether to try again"
            )


def _is_retry_condition(condition: Any) -> bool:
    if condition is None:
        return True
    if isinstance(condition, type):
        return issubclass(condition, BaseException)
    if isinstance(condition, Sequence):
        return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in condition)
    return callable(condition)


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Share a task's results across runs.

    Args:
        key_func: makes the key from the task's arguments, a string or bytes; by default the arguments themselves,
            encoded and hashed.
        ttl: for how many seconds a result may be used; None for as long as the cache keeps it.

    >>> CachePolicy(ttl=60).ttl
    60
    """

    key_func: Callable[..., str | bytes] | None = None
    ttl: float | None = None

    def __post_init__(self) -> None:
        if self.ttl is not None and (not isinstance(self.ttl, (int, float)) or not self.ttl > 0):
            raise DeclarationError(f"CachePolicy(ttl={self.ttl!r}): give a positive number of seconds, or None")
        if self.key_func is not None and not callable(self.key_func):
            raise DeclarationError(f"CachePolicy(key_func={self.key_func!r}): give a function of the task's arguments")


class Display(msgspec.Struct, frozen=True, kw_only=True):
    """How the calls of a task look to those who stream a run, where that is not what they are given and return.

    Args:
        input: takes the arguments; what the mode ``tasks`` shows as the input.
        update: takes the result; what the modes ``updates`` and ``tasks`` show of it.
        hidden: whether calls are not shown at all.

    >>> Display(update=lambda result: result["text"]).hidden
    False
    """

    input: Callable[..., Any] | None = None
    update: Callable[[Any], Any] | None = None
    hidden: bool = False


class TimeoutPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long an async task or workflow may take.

    Args:
        run_timeout: for one attempt, in seconds or as a `timedelta`.
        idle_timeout: since the last sign of life, likewise.
        refresh_on: what counts as a sign of life: ``"auto"`` (a call, a written chunk or a heartbeat) or ``"heartbeat"``
            (only ``runtime.heartbeat()``).

    >>> TimeoutPolicy(run_timeout=timedelta(minutes=1)).run_seconds
    60.0
    """

    run_timeout: float | timedelta | None = None
    idle_timeout: float | timedelta | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    def __post_init__(self) -> None:
        for name in ("run_timeout", "idle_timeout"):
            seconds = _seconds(getattr(self, name))
            if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
                raise DeclarationError(f"{name}={getattr(self, name)!r}: a timeout is a positive number of seconds")
        if self.refresh_on not in ("auto", "heartbeat"):
            raise DeclarationError(f"TimeoutPolicy(refresh_on={self.refresh_on!r}): give 'auto' or 'heartbeat'")

    @property
    def run_seconds(self) -> float | None:
        """`run_timeout` in seconds."""
        return _seconds(self.run_timeout)

    @property
    def idle_seconds(self) -> float | None:
        """`idle_timeout` in seconds."""
        return _seconds(self.idle_timeout)


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise DeclarationError(f"{value!r} is not a time span: give seconds as a number, or a timedelta")


class PregelTask(msgspec.Struct, frozen=True):
    """One piece of work in a `StateSnapshot`: what it is, and how it stands."""

    id: str
    name: str
    path: tuple[Any, ...] = ()
    error: Exception | None = None
    interrupts: tuple[Interrupt[Any], ...] = ()
    state: Any = None
    result: Any = None


class StateSnapshot(msgspec.Struct, frozen=True):
    """How a thread stands at one of its checkpoints.

    Args:
        values: what the run returned; an empty dict where there is nothing yet.
        next: the names of what would run next; empty when the run has ended.
        config: addresses this checkpoint.
        metadata: ``source``, ``step`` and what the caller attached.
        created_at: when, as an ISO 8601 string.
        parent_config: addresses the checkpoint before it.
        tasks: the work under way, with errors and open questions.
        interrupts: all open questions.
    """

    values: Any
    next: tuple[str, ...]
    config: dict[str, Any]
    metadata: dict[str, Any] | None
    created_at: str | None
    parent_config: dict[str, Any] | None
    tasks: tuple[PregelTask, ...]
    interrupts: tuple[Interrupt[Any], ...]


@dataclass(frozen=True, slots=True)
class GraphOutput(Generic[T]):
    """What ``invoke(..., version="v2")`` returns: the value, and the questions that are open instead of one."""

    value: T
    interrupts: tuple[Interrupt[Any], ...] = ()


DURABILITIES: Final = ("sync", "async", "exit")


def check_durability(durability: str | None) -> Durability:
    """``durability`` itself, "async" for None; raises `ConfigError` for a word that is none."""
    if durability is None:
        return "async"
    for known in DURABILITIES:
        if durability == known:
            return known
    raise ConfigError(f"unknown durability {durability!r}: give one of {', '.join(map(repr, DURABILITIES))}")
