"""The runs that nobody is at: found, taken, and given back.

A run that was submitted, one that has slept long enough and one whose process is gone are the same thing: due. Whoever
looks makes the runs of dead processes due first, and then takes as many as it has room for, all in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from logging import getLogger
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from ..checkpoint.base import RunRow, ThreadRow, Transaction
from ..errors import DurablyError
from ..serde import Serializer, encode_exception
from .admission import admit
from .commit import Committer
from .identity import new_run_id, run_place
from .lifecycle import next_turn, settle
from .owner import LEASE_SECONDS, Owner
from .request import Admitted, Claim, Ending, NotDue, Request
from .rows import Head, Outcome, left_nothing
from .search import ThreadInfo, thread_info
from .steps import Steps, clock

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer

__all__ = ["AGAIN", "Claimed", "claim_due", "hand_back", "info_of"]

AGAIN: Final = 60.0
"""Seconds after which a run that could not be gone on with is tried again."""

logger = getLogger("durably")


class Claimed(msgspec.Struct, frozen=True):
    """What a look for due runs has found.

    Args:
        claims: the runs that were taken.
        next_due: when the next one of those that are left is due, None where there is none.
    """

    claims: list[Claim]
    next_due: float | None


def claim_due(checkpointer: BaseCheckpointer, workflows: Sequence[str], limit: int) -> Steps[Claimed]:
    """Take up to ``limit`` runs of some workflows that are due."""
    committer = Committer.of(checkpointer)
    look = _Look(workflows, limit, Owner.of(committer), checkpointer.serde)
    found: Claimed = yield from committer.perform(look)
    for run, error in look.refused:
        logger.error("run %s cannot be gone on with; it is tried again in %g s", run.run_id, AGAIN, exc_info=error)
    return found


class _Look:
    """One look for due runs, inside a transaction."""

    def __init__(self, workflows: Sequence[str], limit: int, owner: Owner, serde: Serializer) -> None:
        self._workflows = list(workflows)
        self._limit = limit
        self._owner = owner
        self._serde = serde
        self.refused: list[tuple[RunRow, DurablyError]] = []

    def __call__(self, transaction: Transaction) -> Claimed:
        """Find, and take."""
        now = clock().now()
        self.refused.clear()  # a transaction may be tried more than once
        self._release(transaction, now)
        claims = list[Claim]()
        for thread, run in transaction.due(self._workflows, now, self._limit) if self._limit else ():
            claim = self._take(transaction, thread, run)
            if claim is not None:
                claims.append(claim)
        left = transaction.due(self._workflows, float("inf"), 1)
        return Claimed(claims, left[0][1].due if left else None)

    def _take(self, transaction: Transaction, thread: ThreadRow, run: RunRow) -> Claim | None:
        request = Request(
            workflow=run.workflow,
            thread_id=thread.thread_id,
            kind="due",
            answer=None,
            run_id=new_run_id(),
            input=b"",
            head=Head(),
        )
        try:
            admitted = admit(request, self._owner, self._serde)(transaction)
        except NotDue:
            return None
        except DurablyError as error:  # such as a value of a class that is not known here
            self.refused.append((run, error))
            transaction.put_run(replace(run, due=clock().now() + AGAIN))
            return None
        return Claim(request.run_id, admitted) if isinstance(admitted, Admitted) else None

    def _release(self, transaction: Transaction, now: float) -> None:
        """Make the runs due whose processes are gone."""
        real_now = time.time()
        for holder in transaction.holders():
            if self._owner.is_alive(holder, real_now) and not self._owner.is_here(holder.owner):
                continue
            for thread, run in transaction.held(holder.owner):
                if run.workflow in self._workflows and not self._owner.is_held(thread, transaction, real_now):
                    _release(transaction, thread, run, now)
        transaction.delete_owners(real_now - LEASE_SECONDS)


def _release(transaction: Transaction, thread: ThreadRow, run: RunRow, now: float) -> None:
    free = replace(thread, owner="")
    if run.status != "running" or left_nothing(run):
        free = next_turn(transaction, free, run)
    else:
        transaction.put_run(replace(run, status="stopped", due=now, outcome=None))
    transaction.put_thread(free)


def hand_back(checkpointer: BaseCheckpointer, claim: Claim, error: BaseException, seconds: float) -> Steps[None]:
    """Give a run back that was taken and cannot be begun here; it stays pending, with the reason, and is due in a while."""
    committer, run = Committer.of(checkpointer), claim.admitted.run
    data = checkpointer.serde.dumps(encode_exception(error), run_place(run.run_id, "error"))
    ending = Ending("pending", Outcome(error=data), due=clock().now() + seconds)
    try:
        yield from committer.perform(settle(claim.admitted, ending))
    finally:
        Owner.of(committer).took(claim.request)


def info_of(claim: Claim) -> ThreadInfo:
    """A run that was taken, as people see it."""
    return thread_info(claim.admitted.thread, claim.admitted.run)
