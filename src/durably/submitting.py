"""Leaving runs to workers, and finding them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .context import current
from .engine.commit import Committer
from .engine.function import Function
from .engine.history import list_runs
from .engine.scope import Scope
from .engine.steps import Steps, adrive, drive
from .engine.taking import submit
from .errors import ConfigError, EmptyInputError
from .invocation import Config, invocation_of
from .state import Threads
from .state.handles import RunHandle, find_run
from .types import Command

if TYPE_CHECKING:
    from uuid import UUID

    from .engine.call import TaskFuture
    from .types import Durability

__all__ = ["Submitting"]


In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class Submitting(Threads, Generic[In, Out]):
    """Accepting runs without running them. A base of `durably.workflow.Workflow`."""

    def submit(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        durability: Durability | None = None,
        idempotency_key: str | None = None,
    ) -> RunHandle[Out]:
        """Have a run accepted, and leave it to a worker: `durably.Worker`, ``durably worker``, or `recover`.

        When this returns, the run is in the database. Inside another run it is a call of that run, made once.

        Args:
            input: as for `invoke`; ``Command(resume=answer)`` hands in an answer, None goes on with a run that failed.
            config: as for `invoke`.
            thread_id: instead of the config's.
            durability: ``"async"`` or ``"sync"``.
            idempotency_key: a second run with this key on this thread is the first one.

        Returns:
            A handle to wait for it, to ask how it stands, and to cancel it.

        Raises:
            ConfigError: an argument is wrong.
            ThreadBusy: another run of the thread is under way or waits, and ``on_busy`` is not ``"enqueue"``.

        >>> from durably import InMemorySaver, Worker, entrypoint
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> handle = double.submit(4, thread_id="a")
        >>> Worker(double).run(until_idle=True)
        >>> handle.result()
        8
        """
        how: dict[str, Any] = {
            "thread_id": thread_id,
            "durability": durability,
            "idempotency_key": idempotency_key,
        }
        call = self._accepting(input, config, how, is_async=False)
        return drive(self._accepted(input, config, **how) if call is None else self._found(call.result(), None))

    async def asubmit(
        self,
        input: In | Command | None,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        durability: Durability | None = None,
        idempotency_key: str | None = None,
    ) -> RunHandle[Out]:
        """As `submit`, without blocking the running event loop."""
        how: dict[str, Any] = {
            "thread_id": thread_id,
            "durability": durability,
            "idempotency_key": idempotency_key,
        }
        call = self._accepting(input, config, how, is_async=True)
        return await adrive(self._accepted(input, config, **how) if call is None else self._found(await call, None))

    def handle(self, run_id: str | None = None, *, thread_id: str | UUID | None = None) -> RunHandle[Out]:
        """The handle of a run that was submitted or invoked anywhere: by its id, or as the latest one of a thread.

        Raises:
            ConfigError: there is no such run.
            WorkflowMismatch: it belongs to another workflow.
        """
        return drive(self._found(run_id, thread_id))

    async def ahandle(self, run_id: str | None = None, *, thread_id: str | UUID | None = None) -> RunHandle[Out]:
        """As `handle`, without blocking the running event loop."""
        return await adrive(self._found(run_id, thread_id))

    def _accepted(self, input: Any, config: Config | None, **how: Any) -> Steps[RunHandle[Any]]:
        """A run that is accepted, outside of any run."""
        storage = self._storage()
        if how.pop("context", None) is not None:
            raise ConfigError(
                "a context is never stored, so a submitted run cannot have one: give it to Worker(context=...) or "
                "recover(context=...)"
            )
        invocation = invocation_of(self._function, self._settings, input, config, **how)
        run = yield from submit(invocation, storage)
        return RunHandle(storage, run, str(invocation.options.thread_id))

    def _accepting(
        self, input: Any, config: Config | None, how: dict[str, Any], *, is_async: bool
    ) -> TaskFuture[str] | None:
        """Inside a run, a call of that run, which gives the new run's id; None outside one."""
        place = current.get()
        if not isinstance(place, Scope):
            return None

        def accept(given: Any) -> Steps[str]:
            scope, key = current.get(), how.get("idempotency_key")
            if key is None and isinstance(scope, Scope) and not (given is None or isinstance(given, Command)):
                key = scope.body.id  # a call that was begun before a crash is made again, and finds what it made
            return (yield from self._accepted(given, config, **{**how, "idempotency_key": key})).run_id

        def blocking(given: Any) -> str:
            return drive(accept(given))

        async def awaiting(given: Any) -> str:
            return await adrive(accept(given))

        call: Callable[..., Any] = awaiting if is_async else blocking
        return place.body.run.call(place, Function(call, f"submit {self._function.name}", is_async), (input,), {})

    def _found(self, run_id: str | None, thread_id: Any) -> Steps[RunHandle[Any]]:
        storage = self._storage()
        name = (yield from self._latest(thread_id)) if run_id is None else run_id
        run, thread = yield from Committer.of(storage).perform(find_run(name, self._function.name))
        return RunHandle(storage, run, thread)

    def _latest(self, thread_id: Any) -> Steps[str]:
        storage, options = self._addressed(None, thread_id)
        runs = yield from Committer.of(storage).perform(list_runs(str(options.thread_id), 1, storage.serde))
        if not runs:
            raise EmptyInputError(f"thread {options.thread_id!r} has never run, so there is no run to wait for")
        return str(runs[0].run_id)
