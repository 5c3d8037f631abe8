"""What a body can know about the run it belongs to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from .context import here
from .errors import GraphDrained

if TYPE_CHECKING:
    from .store.base import BaseStore
    from .types import StreamWriter

__all__ = ["ExecutionInfo", "RunControl", "Runtime", "get_runtime"]

ContextT = TypeVar("ContextT")


class ExecutionInfo(msgspec.Struct, frozen=True):
    """Which execution this is.

    Args:
        checkpoint_id: the address of the run's start in its thread.
        checkpoint_ns: the scope of the body, empty for the workflow itself.
        task_id: the call's id, the same on every attempt of this run.
        thread_id: the thread, None without a checkpointer.
        run_id: the run.
        node_attempt: which attempt of this task this is, from 1.
        node_first_attempt_time: when its first attempt began, in seconds since the epoch.
    """

    checkpoint_id: str
    checkpoint_ns: str
    task_id: str
    thread_id: str | None = None
    run_id: str | None = None
    node_attempt: int = 1
    node_first_attempt_time: float | None = None


class RunControl:
    """Asks a run from outside to stop in good order; hand it to ``invoke(..., control=...)``.

    After the request no new attempt starts; the one under way may still make calls and end.

    Args:
        drain_timeout: for how many seconds it may; then it stops at its next call with `GraphDrained`. None for any time.

    >>> control = RunControl()
    >>> control.request_drain("deploy")
    >>> control.drain_requested, control.drain_reason
    (True, 'deploy')
    """

    __slots__ = ("_deadline", "_drain_timeout", "_reason")

    def __init__(self, *, drain_timeout: float | None = None) -> None:
        self._drain_timeout = drain_timeout
        self._deadline = math.inf
        self._reason: str | None = None

    def request_drain(self, reason: str = "shutdown") -> None:
        """Ask for it. The first reason stays."""
        if self._reason is None:
            if self._drain_timeout is not None:
                self._deadline = time.monotonic() + self._drain_timeout
            self._reason = reason

    @property
    def overdue(self) -> GraphDrained | None:
        """What stops an attempt that goes on for longer than the drain timeout after the request."""
        if self._reason is None or time.monotonic() < self._deadline:
            return None
        return GraphDrained(
            f"the run was stopped {self._drain_timeout:g} seconds after a drain was requested ({self._reason}); "
            "resume it with invoke(None, config)"
        )

    @property
    def drain_requested(self) -> bool:
        """Whether a drain was asked for."""
        return self._reason is not None

    @property
    def drain_reason(self) -> str | None:
        """Why, None as long as nobody asked."""
        return self._reason


def _ignore() -> None:
    """A heartbeat that nobody listens to."""


class _Silence:
    """A writer that nobody listens to."""

    def __call__(self, chunk: Any, /) -> None:
        """Let it go."""

    async def drain(self) -> None:
        """There is nothing to wait for."""


class Runtime(msgspec.Struct, Generic[ContextT], frozen=True, kw_only=True):
    """What a body can know about its run; injected as a parameter named ``runtime``.

    Args:
        context: what the caller passed as ``context=``.
        store: long-term memory, None where the workflow has none.
        stream_writer: hands a value to whoever streams in mode ``custom``; see `durably.types.StreamWriter`.
        heartbeat: tells that the body is alive, for ``TimeoutPolicy(idle_timeout=...)``.
        previous: what the thread's last run saved.
        execution_info: which execution this is.
        control: the `RunControl` that the caller passed, or one of the run's own.
    """

    context: ContextT = None  # type: ignore[assignment]
    store: BaseStore | None = None
    stream_writer: StreamWriter = msgspec.field(default_factory=_Silence)
    heartbeat: Callable[[], None] = _ignore
    previous: Any = None
    execution_info: ExecutionInfo | None = None
    control: RunControl = msgspec.field(default_factory=RunControl)

    @property
    def call_id(self) -> str:
        """An idempotency key: the same on every attempt and retry of this call in this run."""
        return "" if self.execution_info is None else self.execution_info.task_id

    @property
    def drain_requested(self) -> bool:
        """Whether the caller asked the run to stop in good order."""
        return self.control.drain_requested

    @property
    def drain_reason(self) -> str | None:
        """Why, None as long as nobody asked."""
        return self.control.drain_reason

    def override(self, **changes: Any) -> Runtime[ContextT]:
        """The same with some of its fields changed: to hand on to a function that takes one.

        >>> Runtime(context={"user": "grace"}, previous=2).override(previous=3).previous
        3
        """
        return msgspec.structs.replace(self, **changes)


def get_runtime(context_schema: type[ContextT] | None = None) -> Runtime[ContextT]:
    """The runtime of the body under way.

    Args:
        context_schema: only tells type checkers what ``runtime.context`` is.

    Raises:
        OutsideRunError: where no run is under way.

    >>> from durably.func import entrypoint
    >>> @entrypoint()
    ... def who(question: str) -> str:
    ...     return get_runtime().context["user"]
    >>> who.invoke("?", context={"user": "Ada"})
    'Ada'
    """
    runtime: Runtime[ContextT] = here("get_runtime()").runtime()
    return runtime
