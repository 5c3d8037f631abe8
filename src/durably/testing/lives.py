"""Runs a workflow on storage of the test's own, and says which calls it began."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from msgspec.structs import replace

from ..checkpoint.base import RunRow, Work
from ..checkpoint.memory import InMemorySaver
from ..engine.attempt import Invocation
from ..engine.ending import open_questions
from ..engine.identity import Key
from ..engine.journal import RETURNED, Record, decode_records
from ..engine.shells import run_awaiting, run_blocking
from ..engine.steps import Step
from ..errors import StorageError
from ..serde import Serializer
from ..types import Interrupt
from ..workflow import Workflow

__all__ = ["THREAD", "Invoke", "Stopped", "StoppingSaver", "Watch", "prepared"]

THREAD = "test"
"""The thread on which workflows are run here."""


class Stopped(StorageError):
    """Storage is gone, as it is for a process that has been killed."""


class StoppingSaver(InMemorySaver):
    """Storage that a process can reach until it is stopped, and that outlives it.

    Args:
        stop_at: the number of the write, from 1, at which the process is stopped; None for never.
        before: the storage of the process before this one.
        serde: turns values into bytes and back.
    """

    def __init__(
        self, *, stop_at: int | None = None, before: StoppingSaver | None = None, serde: Serializer | None = None
    ) -> None:
        super().__init__(serde=serde if before is None else before.serde)
        if before is not None:
            self._tables = before._tables
            self._tables.owners.clear()  # whoever held the thread is dead
        self._stop_at = stop_at
        self._counting = Lock()
        self._writes = 0

    @property
    def stopped(self) -> bool:
        """Whether the process that uses it has been stopped."""
        return self._stop_at is not None and self._writes >= self._stop_at

    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        """See `BaseCheckpointer.transact`."""
        with self._counting:
            self._writes += 1
            if self.stopped:
                raise Stopped(f"the process was stopped at its write {self._stop_at}")
            return super().transact(works, durable=durable)

    def append(self, chunks: Sequence[Any], *, durable: bool = False) -> list[bool]:
        """See `BaseCheckpointer.append`."""
        with self._counting:
            self._writes += 1
            if self.stopped:
                raise Stopped(f"the process was stopped at its write {self._stop_at}")
            return super().append(chunks, durable=durable)

    def stands(self) -> tuple[RunRow | None, tuple[Interrupt[Any], ...]]:
        """The current run, None where there is none yet, and its open questions."""
        run = self._tables.open(THREAD).run
        return run, () if run is None else open_questions(run, self._records(run), self.serde)

    def finished(self) -> set[Key]:
        """The calls whose results are stored."""
        run = self._tables.open(THREAD).run
        return {record.key for record in self._records(run) if record.kind == RETURNED}

    def _records(self, run: RunRow | None) -> list[Record]:
        return [] if run is None else decode_records(self._tables.records(run.no))


class Watch:
    """Notes which calls are begun, retries included; waiting for other calls is none."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.begun: list[Key] = []

    def __call__(self, call: Any) -> None:
        if not call.function.is_passive:
            with self._lock:
                self.begun.append(call.key)


class Invoke(Step):
    """Run a workflow: on this thread, or on the running event loop."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def block(self) -> Any:
        """As ``invoke`` does."""
        return run_blocking(self._invocation)

    async def wait(self) -> Any:
        """As ``ainvoke`` does."""
        return await run_awaiting(self._invocation)


def prepared(
    workflow: Workflow[Any, Any],
    saver: InMemorySaver,
    watch: Callable[[Any], None],
    input: Any,
    config: Any = None,
    *,
    strict: bool = False,
    **how: Any,
) -> Invocation:
    """An invocation of a workflow on other storage than its own, watched."""
    settings = workflow._settings
    settings = replace(settings, checkpointer=saver, strict=strict or settings.strict)
    invocation = Workflow[Any, Any](workflow._function, settings)._invocation(input, config, thread_id=THREAD, **how)
    return replace(invocation, env=replace(invocation.env, watch=watch))
