"""What is left in one's hand after submitting a run: to wait for it, to ask how it stands, to cancel it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..checkpoint.base import RunRow, Status, Transaction, Work
from ..engine.commit import Committer
from ..engine.ending import result_of
from ..engine.lifecycle import cancel
from ..engine.owner import Owner
from ..engine.request import Request
from ..engine.rows import Head
from ..engine.steps import Steps, adrive, drive
from ..errors import ConfigError, WorkflowMismatch
from ..invocation import output

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer

__all__ = ["RunHandle", "find_run"]

Out = TypeVar("Out", covariant=True)


class RunHandle(Generic[Out]):
    """A run, wherever it runs. Made by `Workflow.submit` and `Workflow.handle`; awaiting it gives its result.

    Attributes:
        run_id: names the run; with it `Workflow.handle` makes the same handle in another process.
        thread_id: its thread.
        workflow: the name of its workflow.

    >>> from durably import InMemorySaver, entrypoint
    >>> @entrypoint(checkpointer=InMemorySaver())
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> handle = double.submit(4, thread_id="a")
    >>> handle.status
    'pending'
    >>> double.recover()  # as a worker does
    {'a': 8}
    >>> handle.status, handle.result()
    ('done', 8)
    """

    def __init__(self, checkpointer: BaseCheckpointer, run: RunRow, thread_id: str) -> None:
        self._checkpointer = checkpointer
        self._run = run
        self.run_id = run.run_id
        self.thread_id = thread_id
        self.workflow = run.workflow

    def __repr__(self) -> str:
        return f"<RunHandle {self.run_id} of {self.workflow!r} on thread {self.thread_id!r}>"

    @property
    def config(self) -> dict[str, Any]:
        """Addresses the run's thread."""
        return {"configurable": {"thread_id": self.thread_id}}

    def result(self, timeout: float | None = None) -> Out:
        """Wait for the run to end, whoever runs it.

        Args:
            timeout: for how many seconds at most; None for as long as it takes.

        Returns:
            What ``invoke`` would have returned; when it asks, ``{"__interrupt__": [Interrupt, ...]}``.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
            NodeCancelledError: it was cancelled, stopped, or left behind.
            Exception: whatever the workflow raised.
        """
        return cast("Out", drive(self._result(timeout)))

    async def aresult(self, timeout: float | None = None) -> Out:
        """As `result`, without blocking the running event loop."""
        return cast("Out", await adrive(self._result(timeout)))

    def __await__(self) -> Generator[Any, Any, Out]:
        return self.aresult().__await__()

    def _result(self, timeout: float | None) -> Steps[Any]:
        ended = yield from result_of(self._run, self.thread_id, self._checkpointer, patient=True, timeout=timeout)
        return output(ended, "v1")

    @property
    def status(self) -> Status:
        """How the run stands now, read from the database."""
        return drive(self._status())

    async def astatus(self) -> Status:
        """As `status`, without blocking the running event loop."""
        return await adrive(self._status())

    def _status(self) -> Steps[Status]:
        run, _ = yield from Committer.of(self._checkpointer).perform(find_run(self.run_id, self.workflow))
        return cast("Status", run.status)

    def cancel(self) -> None:
        """End the run, whether it waits, sleeps, asks or is under way: it can write nothing any more.

        Raises:
            EmptyInputError: it is over.
        """
        drive(self._cancel())

    async def acancel(self) -> None:
        """As `cancel`, without blocking the running event loop."""
        await adrive(self._cancel())

    def _cancel(self) -> Steps[None]:
        committer = Committer.of(self._checkpointer)
        owner = Owner.of(committer)
        request = Request(self.workflow, self.thread_id, "input", None, self.run_id, b"", Head())
        thread_no, fence = yield from committer.perform(cancel(request, owner, self._checkpointer.serde))
        owner.stop_older(thread_no, fence)


def find_run(run_id: str, workflow: str) -> Work:
    """A run of a workflow, and its thread's id.

    Raises:
        ConfigError: there is no such run.
        WorkflowMismatch: it belongs to another workflow.
    """

    def work(transaction: Transaction) -> tuple[RunRow, str]:
        run = transaction.find_run(run_id)
        thread = None if run is None else transaction.thread(run.thread_no)
        if run is None or thread is None:
            raise ConfigError(f"there is no run {run_id!r}: it was never accepted here, or it has been deleted")
        if run.workflow != workflow:
            raise WorkflowMismatch(f"run {run_id} belongs to workflow {run.workflow!r}, not to {workflow!r}")
        return run, thread.thread_id

    return work
