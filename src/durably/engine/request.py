"""What is asked of a thread, and what the database answered: plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import EmptyInputError
from ..moments import Moments

if TYPE_CHECKING:
    from ..checkpoint.base import RunRow, Status, ThreadRow, Work
    from ..checkpoint.saved import Saved, Stored
    from .identity import Key
    from .journal import Record
    from .rows import Head, Outcome

__all__ = ["RESUMABLE", "Admitted", "Busy", "Claim", "Ending", "Existing", "Fork", "NotDue", "Request", "is_waiting"]

RESUMABLE: Final = ("pending", "sleeping", "asked", "failed", "stopped", "running")
"""A run that stands so can be gone on with, unless somebody is at it."""


def is_waiting(run: RunRow | None) -> bool:
    """Whether a run waits for a process to go on with it: it keeps its thread busy although nobody holds that.

    One that has asked may go on by itself, too, but does not stand in the way of a new input.
    """
    return run is not None and run.due is not None and run.status != "asked"


class Fork(msgspec.Struct, frozen=True):
    """Where a run is forked: before a call, and with which results in the place of recorded ones.

    Args:
        before: the call from which on calls run again; None for the first one in ``set``, and without any, for none.
        set: results, by call, that take the place of recorded ones.
    """

    before: Key | None = None
    set: tuple[tuple[Key, Any], ...] = ()


class Request(msgspec.Struct, frozen=True):
    """What an invocation asks of a thread.

    Args:
        workflow: the name of the workflow that was invoked.
        thread_id: the thread.
        kind: ``input`` starts a run, ``resume`` goes on with one, ``answer`` also answers its questions, ``due`` goes on
            only with one that is due.
        answer: the answer, or a dict from question ids to answers.
        run_id: the name of a new run.
        input: its encoded input.
        head: its circumstances.
        on_busy: what to do when the thread is held.
        key: the caller's idempotency key, empty where there is none.
        checkpoint_id: the moment of the thread to start from, None for the latest.
        fork: how to fork the run at ``checkpoint_id``, None where that is not asked for.
        moments: tells the moments inside the workflow's runs, None where it has none.
        goes_on: whether the input belongs to how the thread stands now, in the middle of an open run too.
        answered: the run whose questions this has answered already, while another attempt of it was under way.
        submitted: whether the run is left to whoever looks for due ones.
    """

    workflow: str
    thread_id: str
    kind: str
    answer: Any
    run_id: str
    input: bytes
    head: Head
    on_busy: str = "reject"
    key: str = ""
    checkpoint_id: str | None = None
    fork: Fork | None = None
    moments: Moments | None = None
    goes_on: bool = False
    answered: str = ""
    submitted: bool = False


class Admitted(msgspec.Struct, frozen=True):
    """A run that may go on under a new fence.

    Args:
        thread: its thread.
        run: the run.
        records: the calls recorded so far, oldest first.
        saved: the saved value that is ``previous``, None on a thread's first run.
    """

    thread: ThreadRow
    run: RunRow
    records: list[Record]
    saved: Saved | None


class Claim(msgspec.Struct, frozen=True):
    """A due run that this process has taken.

    Args:
        request: the name under which it was taken.
        admitted: the run.
    """

    request: str
    admitted: Admitted


class Existing(msgspec.Struct, frozen=True):
    """Nothing is to be run: the result of this run is what was asked for."""

    run: RunRow


class Busy(msgspec.Struct, frozen=True):
    """The thread is held by an attempt under way; come again, with this, when it has ended."""

    again: Work


class Ending(msgspec.Struct, frozen=True):
    """How an attempt ended.

    Args:
        status: how the run stands now.
        outcome: what it returned or raised.
        stored: what it saved.
        due: from when on any process may go on with it, None where none is to.
    """

    status: Status
    outcome: Outcome | None = None
    stored: Stored | None = None
    due: float | None = None


class NotDue(EmptyInputError):
    """Nothing is due on this thread: somebody is at it, or was faster. It does not leave those who look for due runs."""
