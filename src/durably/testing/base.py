"""What the parts of the conformance suite share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..checkpoint.base import BaseCheckpointer, Chunk, Opened, RunRow, ThreadRow, Transaction, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Contract", "Raised", "a_run", "chunk", "expect", "held", "one", "opened", "records"]


@dataclass(slots=True)
class Raised:
    """Holds the exception that `expect` caught."""

    error: BaseException | None = None


@contextmanager
def expect(kind: type[BaseException]) -> Iterator[Raised]:
    """Demand that a block raises an exception of that class.

    >>> with expect(KeyError) as raised:
    ...     {}["x"]
    >>> raised.error
    KeyError('x')
    """
    raised = Raised()
    try:
        yield raised
    except kind as error:
        raised.error = error
    if raised.error is None:
        raise AssertionError(f"{kind.__name__} was not raised")


class Contract:
    """Makes checkpointers for the tests, and closes them."""

    _made: list[BaseCheckpointer] | None = None

    def make(self) -> BaseCheckpointer:
        """A new checkpointer on empty storage."""
        raise NotImplementedError("a conformance suite says how its checkpointer is made: define make()")

    def reopen(self, checkpointer: BaseCheckpointer) -> BaseCheckpointer | None:
        """Another checkpointer on the same storage, None where there can be none."""
        return None

    def fresh(self) -> BaseCheckpointer:
        """What ``make()`` returns, closed after the test."""
        return self._kept(self.make())

    def another(self, checkpointer: BaseCheckpointer) -> BaseCheckpointer | None:
        """What ``reopen()`` returns, likewise."""
        found = self.reopen(checkpointer)
        return None if found is None else self._kept(found)

    def _kept(self, checkpointer: BaseCheckpointer) -> BaseCheckpointer:
        if self._made is None:
            self._made = []
        self._made.append(checkpointer)
        return checkpointer

    def teardown_method(self) -> None:
        """Close what was made; pytest calls it after each test."""
        while self._made:
            self._made.pop().close()

    tearDown = teardown_method  # unittest's name for it


def one(checkpointer: BaseCheckpointer, work: Work, *, durable: bool = False) -> Any:
    """What a transaction with a single piece of work returns."""
    (result,) = checkpointer.transact([work], durable=durable)
    if isinstance(result, BaseException):
        raise result
    return result


def a_run(thread_no: int, run_id: str, **fields: Any) -> RunRow:
    """A row with something in every field.

    Args:
        thread_no: the thread it is on.
        run_id: its name.
        **fields: instead of the usual ones.
    """
    given: dict[str, Any] = {
        "no": 0,
        "workflow": "publish",
        "status": "running",
        "attempt": 1,
        "created_at": 1_700_000_000.25,
        "updated_at": 1_700_000_001.5,
        "parent": "earlier-1",
        "head": b"\x00head\xff",
        "input": b"\x00input\xff",
        "outcome": None,
        "saved": None,
        **fields,
    }
    return RunRow(run_id=run_id, thread_no=thread_no, **given)


def held(checkpointer: BaseCheckpointer, thread_id: str, *, fence: int = 1) -> tuple[ThreadRow, RunRow]:
    """A thread with a run, held under a fence."""

    def work(transaction: Transaction) -> tuple[ThreadRow, RunRow]:
        thread = transaction.put_thread(ThreadRow(0, thread_id, fence, owner="somebody", since=1.5))
        run = transaction.put_run(a_run(thread.no, f"run-of-{thread_id}"))
        return thread, run

    thread, run = one(checkpointer, work)
    return thread, run


def chunk(thread: ThreadRow, run: RunRow, data: bytes) -> Chunk:
    """Something to append under the thread's own fence."""
    return Chunk(thread.no, thread.fence, run.no, data)


def opened(checkpointer: BaseCheckpointer, thread_id: str) -> Opened:
    """A thread as one read finds it."""
    found: Opened = one(checkpointer, lambda transaction: transaction.open(thread_id))
    return found


def records(checkpointer: BaseCheckpointer, run: RunRow) -> Sequence[bytes]:
    """A run's journal."""
    found: Sequence[bytes] = one(checkpointer, lambda transaction: transaction.records(run.no))
    return found
