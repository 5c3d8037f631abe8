"""Replays every run after each of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..engine.run import Again, Run, set_run_class

if TYPE_CHECKING:
    from ..engine.call import TaskFuture
    from ..engine.scope import Scope

__all__ = ["always_replay"]


class ReplayingRun(Run):
    """One pass through a program: it ends at the next call after one was recorded, unless others are under way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recorded = self._count()

    def _count(self) -> int:
        log = self.recorder.log
        return 0 if log is None else log.calls

    @property
    def is_last(self) -> bool:
        """Whether the whole pass was a replay."""
        return self._count() == self._recorded or self.durability == "exit"  # which stores nothing before the end

    def _check_alive(self, scope: Scope) -> None:
        if not self.is_last and self.stopping is None and self._is_quiet(scope.body):
            self.stop(Again("the run is replayed after each call"))
        super()._check_alive(scope)

    def _is_quiet(self, body: TaskFuture[Any]) -> bool:
        """Whether nothing is under way but this body and those around it: what is stopped half-way would run again."""
        around, inner = body.parent, body
        while around is not None:
            if self.scheduler.unfinished(around) != [inner]:
                return False
            inner, around = around, around.parent
        return not self.scheduler.unfinished(body)


@contextmanager
def always_replay() -> Iterator[None]:
    """Stop every run after each call it records, and replay it from what is stored, for the length of a ``with`` block.

    A workflow passes its tests in it unless something in it is not the same every time, or a value is not what it was after
    it has been stored. Put it around a whole test suite. Runs without a checkpointer cannot be replayed, and are not.

    A run is stopped only while no other of its calls is under way, so that no task runs twice; the bodies of workflows, and
    of tasks that call tasks, run again from their top, as they do after a crash.

    >>> import random
    >>> from durably import InMemorySaver, entrypoint, task
    >>> @task
    ... def tell(text: str) -> str:
    ...     return text
    >>> @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    ... def unsteady(_: int) -> str:
    ...     tell("dice").result()
    ...     return tell(str(random.random())).result()  # not in a task
    >>> with always_replay():
    ...     unsteady.invoke(0, thread_id="1")
    Traceback (most recent call last):
    durably.errors.NonDeterminismError: call tell.1 is made with other arguments than recorded (...
    """
    before = set_run_class(ReplayingRun)
    try:
        yield
    finally:
        set_run_class(before)
