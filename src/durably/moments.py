"""Moments inside a run: for workflows whose state after each of their steps can be told from what is recorded.

Every run can be addressed at its start and at its end. A workflow that has a `Moments` has more: it is told what a run
recorded and says how it stood after each step. Nothing is stored for this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from .types import Interrupt, PregelTask

__all__ = ["Call", "CallKey", "Changed", "Moments", "Step", "Story"]

CallKey = tuple[str, str, int]
"""What identifies a call within its run: scope, name and number."""


class Call(msgspec.Struct, frozen=True):
    """A recorded call that has ended.

    Args:
        value: gives the result, or raises what the call raised.
        error: what it raised, None where it returned.
        ended_at: when, in seconds since the epoch.
    """

    value: Callable[[], Any]
    error: BaseException | None
    ended_at: float


class Story(msgspec.Struct, frozen=True):
    """What a run has recorded.

    Args:
        run_id: names it.
        input: its input.
        saved: what the thread's earlier runs had saved, None where there is nothing.
        calls: the calls that have ended.
        questions: the open questions, each with the key under which it was put.
        id_of: gives the id of a call.
        scope: that of the body that is told of; empty for the run's own workflow.
    """

    run_id: str
    input: Any
    saved: Any
    calls: Mapping[CallKey, Call]
    questions: Sequence[tuple[CallKey, Interrupt[Any]]]
    id_of: Callable[[CallKey], str]
    scope: str = ""


class Step(msgspec.Struct, frozen=True):
    """How a run stood at one moment.

    Args:
        values: the state.
        next: the names of what would run next, or had not ended.
        tasks: the work that followed, as far as it came.
        start: the input with which a run goes on from here.
        at: when, in seconds since the epoch; 0 for when the run began.
    """

    values: Any
    next: tuple[str, ...] = ()
    tasks: tuple[PregelTask, ...] = ()
    start: Any = None
    at: float = 0.0


class Changed(msgspec.Struct, frozen=True):
    """What `Moments.changed` makes of an update.

    Args:
        values: the state after it.
        start: the input with which a run goes on from there; None where nothing is left to run.
        returned: what the workflow returns at this state.
    """

    values: Any
    start: Any = None
    returned: Any = None


class Moments(Protocol):
    """What a workflow knows of the moments of its runs."""

    def steps(self, story: Story) -> list[Step]:
        """How a run stood: before its input, and after each step that has begun or is to begin."""
        ...

    def at(self, story: Story, index: int | None, *, subgraphs: bool = False) -> tuple[Step, int]:
        """One of these, and its number.

        Args:
            story: what the run recorded.
            index: its number, None for the latest.
            subgraphs: whether tasks that are workflows show their own state.

        Raises:
            IndexError: the run never came there.
        """
        ...

    def entered(self, step: Step, given: Any) -> Any:
        """The input with which a run begins that takes an input at an earlier moment."""
        ...

    def changed(self, step: Step | None, values: Any, as_node: str | None) -> Changed:
        """An update of the state at a moment; None is before a thread's first run."""
        ...
