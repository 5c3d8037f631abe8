"""Works that share a transaction, and what becomes of those that cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ...errors import DatabaseLocked, DatabaseUnavailable, DurablyError, StorageError
from ..rows import Away, Busy, ThreadRow, Uncertain, Work
from .reading import Memory, Want
from .session import Session
from .view import Dirty, Missing, View, Writes

__all__ = ["LATER", "Batch", "Known", "Outcome", "decide"]

LATER: Final = object()
"""In the place of a result: the work has to wait until what others have written is committed."""
Known: TypeAlias = dict[int, tuple[ThreadRow, int]]
NOTHING: Final = Writes()
PASSES: Final = 8  # works that read step by step for longer than this get a transaction for themselves


@dataclass(frozen=True, slots=True)
class Outcome:
    """What works returned, and what they want to have written."""

    results: list[Any]
    writes: Writes


def decide(works: Sequence[Work], session: Session, known: Known) -> Outcome:
    """Run works against what they read, until all have read what they need."""
    memory = Memory()
    if len(works) == 1:
        return _decide_alone(works[0], session, memory, known)
    for _ in range(PASSES - 1):
        outcome, wants = _pass(works, memory, known)
        if not wants:
            return outcome
        session.read(wants, memory)
    return _pass(works, memory, known)[0]


def _pass(works: Sequence[Work], memory: Memory, known: Known) -> tuple[Outcome, list[Want]]:
    memory.taken = 0
    writes, results, wants = Writes(), list[Any](), list[Want]()
    for work in works:
        view = View(memory, writes, known)
        try:
            result = work(view)
            writes.add(view.finish())
        except Missing as missing:
            wants.append(missing.want)
            result = LATER
        except Dirty:
            result = LATER
        except DurablyError as error:
            wants.extend(view.guesses)  # what was only known may be what it objects to
            result = LATER if view.guesses else error
        results.append(result)
    return Outcome(results, writes), wants


def _decide_alone(work: Work, session: Session, memory: Memory, known: Known) -> Outcome:
    def read(want: Want) -> None:
        if session.starts_over:
            raise Missing(want)
        session.read([want], memory)

    while True:
        view = View(memory, NOTHING, known, read=read, flush=lambda writes: session.flush(writes, memory))
        try:
            return Outcome([work(view)], view.finish())
        except Missing as missing:  # it needs another state of the database, or trusted in what nothing would check
            session.read([missing.want], memory)
        except (DatabaseLocked, DatabaseUnavailable):  # said of a read, not by the work
            raise
        except DurablyError as error:
            if not view.guesses:
                return Outcome([error], Writes())
            session.read(view.guesses[:1], memory)  # what was only known may be what it objects to


Transacts: TypeAlias = Callable[[list[Work]], list[Any]]
"""Does works in one transaction, and raises as a checkpointer does; `LATER` stands for those that it could not do."""


class Batch:
    """Works, in one transaction where that is possible, otherwise in several.

    Works that read what others in the batch have written come in a transaction after theirs. When the database refuses a
    transaction, each of its works gets one of its own, so that it is clear which one it refuses.
    """

    def __init__(self, works: Sequence[Work], transact: Transacts) -> None:
        self._works = works
        self._transact = transact
        self._results: list[Any] = [None] * len(works)
        self._groups = [list(range(len(works)))] if works else []
        self._find_out: Callable[[], list[Any] | None] | None = None
        self._has_begun = False

    def run(self) -> list[Any]:
        """What each work returned."""
        while self._groups:
            group = self._groups[0]
            try:
                results = self._next(group)
            except Uncertain as uncertain:
                self._find_out = uncertain.find_out
                raise Uncertain(str(uncertain), self._go_on) from uncertain
            except Busy as busy:
                if self._has_begun:  # a part is written, so this is not as if nothing had been
                    raise Uncertain(str(busy), self._go_on) from busy
                raise
            except StorageError as error:
                if len(group) == len(self._works) == 1:
                    raise
                results = [error] if len(group) == 1 else [LATER] * len(group)
            self._take(group, results)
        return self._results

    def _next(self, group: list[int]) -> list[Any]:
        if self._find_out is not None:
            results = self._find_out()
            self._find_out = None
            if results is not None:
                return results
        return self._transact([self._works[index] for index in group])

    def _take(self, group: list[int], results: list[Any]) -> None:
        later = [index for index, result in zip(group, results, strict=True) if result is LATER]
        for index, result in zip(group, results, strict=True):
            self._results[index] = result
        alone = len(later) == len(group)
        self._has_begun = self._has_begun or not alone
        self._groups[:1] = [[index] for index in later] if alone else [later] if later else []

    def _go_on(self) -> list[Any]:
        try:
            return self.run()
        except Uncertain as uncertain:
            raise Away(str(uncertain)) from uncertain
