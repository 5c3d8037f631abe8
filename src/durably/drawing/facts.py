"""What a picture shows of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

__all__ = ["IDLE", "OPEN_STATES", "SIGNS", "STATES", "Call", "RunFacts", "Span", "State"]

State: TypeAlias = Literal["finished", "failed", "waiting", "answered", "unfinished", "cached", "kept"]
"""How a call stands.

``waiting`` is a question without, ``answered`` one with an answer; ``unfinished`` is a body that has no outcome: it
runs, or its process is gone; ``kept`` was copied from the run that was forked.
"""

STATES: Final[tuple[State, ...]] = ("failed", "waiting", "unfinished", "answered", "finished", "cached", "kept")
"""What needs attention comes first: the state of several calls together is the first of theirs."""

IDLE: Final = frozenset[State](("waiting", "answered", "unfinished"))
"""In these nothing works: somebody is waited for, or the process is gone."""

OPEN_STATES: Final = frozenset[State](("waiting", "unfinished"))
"""These have no end yet."""

SIGNS: Final[dict[State, str]] = {"failed": "✗", "waiting": "?", "unfinished": "…", "cached": "⚡", "kept": "↩"}
"""So that nobody has to tell colours apart."""


class Span(NamedTuple):
    """A stretch of time that a call took, in seconds since the epoch."""

    began: float
    ended: float
    state: State


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a run.

    Args:
        name: the task's, the nested workflow's, or ``interrupt``.
        state: how it stands.
        spans: when it was under way, in that order; never empty. All but the last failed, or had no outcome.
        is_question: whether somebody was asked.
        words: its arguments or its question, in a few words.
        note: why it failed.
        attempts: how many its last span took.
        calls: those made in its body.
    """

    name: str
    state: State
    spans: tuple[Span, ...]
    is_question: bool = False
    words: str = ""
    note: str = ""
    attempts: int = 1
    calls: tuple[Call, ...] = ()

    @property
    def began(self) -> float:
        """When it was first under way."""
        return self.spans[0].began

    @property
    def ended(self) -> float:
        """When it was last under way."""
        return self.spans[-1].ended

    @property
    def seconds(self) -> float:
        """How long it was under way, as far as that is known."""
        return sum(span.ended - span.began for span in self.spans if span.state != "unfinished")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run, as it is drawn.

    Args:
        workflow: its name.
        thread_id: the run's thread.
        run_id: the run.
        status: as in `durably.checkpoint.rows.Status`.
        attempts: how many have begun.
        began: when, in seconds since the epoch; likewise ``ended``, the last moment that is known of.
        words: its input, in a few words.
        note: why it failed.
        calls: those made in the workflow's own body.
    """

    workflow: str
    thread_id: str
    run_id: str
    status: str
    attempts: int
    began: float
    ended: float
    words: str = ""
    note: str = ""
    calls: tuple[Call, ...] = ()

    def every_call(self) -> Iterator[Call]:
        """All calls, at any depth."""
        pending = list(self.calls)
        while pending:
            call = pending.pop()
            yield call
            pending.extend(call.calls)
