"""What a workflow can do with its threads beside running on them: look, change, go back, take over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from .engine.commit import Committer
from .engine.function import FinalValue, Function
from .engine.history import CallInfo, Moment, RunInfo, abandoned, find_moment, list_runs, read_history, unknown_thread
from .engine.identity import Key, new_run_id, run_place
from .engine.lifecycle import Fork, Request, cancel, update
from .engine.options import Options, merge_configs, options_from
from .engine.owner import Owner
from .engine.rows import END, Head, checkpoint_of, encode_extra
from .engine.shells import run_awaiting, run_blocking
from .engine.steps import Steps, adrive, drive
from .errors import ConfigError, EmptyInputError, ThreadBusy
from .invocation import Config, Settings, invocation_of, output
from .types import StateSnapshot

if TYPE_CHECKING:
    from uuid import UUID

    from .checkpoint.base import BaseCheckpointer, RunRow

__all__ = ["StateUpdate", "Threads"]

EVERYTHING = 1 << 62


class StateUpdate(NamedTuple):
    """One update for `Threads.bulk_update_state`."""

    values: Any
    as_node: str | None = None


class Threads:
    """The threads of a workflow. A base of `durably.workflow.Workflow`."""

    _function: Function
    _settings: Settings

    # Looking.

    def get_state(self, config: Config | None = None, *, thread_id: str | UUID | None = None) -> StateSnapshot:
        """How a thread stands, or stood at a checkpoint.

        Args:
            config: names the thread, and with ``checkpoint_id`` a moment of its past.
            thread_id: names the thread instead.

        Returns:
            A snapshot; of a thread that has never run, one with ``values == {}`` and ``next == ()``.

        Raises:
            ConfigError: no thread is named, there is no such checkpoint, or nothing is stored.

        >>> from durably import InMemorySaver, entrypoint
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double.invoke(4, thread_id="a")
        8
        >>> double.get_state(thread_id="a").values
        8
        """
        return drive(self._state(config, thread_id))

    async def aget_state(self, config: Config | None = None, *, thread_id: str | UUID | None = None) -> StateSnapshot:
        """As `get_state`, without blocking the running event loop."""
        return await adrive(self._state(config, thread_id))

    def _state(self, config: Config | None, thread_id: Any) -> Steps[StateSnapshot]:
        storage, options = self._addressed(config, thread_id)
        moment: Moment | None = yield from Committer.of(storage).perform(
            find_moment(str(options.thread_id), options.checkpoint_id)
        )
        return unknown_thread(str(options.thread_id)) if moment is None else moment.snapshot(storage.serde)

    def get_state_history(
        self,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """The checkpoints of a thread, latest first.

        Args:
            config: names the thread.
            thread_id: names the thread instead.
            filter: only checkpoints whose metadata has these values.
            before: only checkpoints before the one this addresses.
            limit: how many at most.
        """
        pages = self._pages(config, thread_id, filter, before)
        yielded = 0
        while (page := drive(pages())) is not None:
            for snapshot in page:
                if limit is not None and yielded >= limit:
                    return
                yielded += 1
                yield snapshot

    async def aget_state_history(
        self,
        config: Config | None = None,
        *,
        thread_id: str | UUID | None = None,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """As `get_state_history`, for ``async for``."""
        pages = self._pages(config, thread_id, filter, before)
        yielded = 0
        while (page := await adrive(pages())) is not None:
            for snapshot in page:
                if limit is not None and yielded >= limit:
                    return
                yielded += 1
                yield snapshot

    def _pages(
        self, config: Config | None, thread_id: Any, filter: dict[str, Any] | None, before: Config | None
    ) -> Callable[[], Steps[list[StateSnapshot] | None]]:
        """Gives the steps that read the next page, None after the last one."""
        storage, options = self._addressed(config, thread_id)
        behind = None if before is None else (before.get("configurable") or {}).get("checkpoint_id")
        read = read_history(str(options.thread_id), behind)
        below = EVERYTHING

        def page() -> Steps[list[StateSnapshot] | None]:
            nonlocal below
            if not below:
                return None
            moments, below = yield from Committer.of(storage).perform(read(below))
            snapshots = [moment.snapshot(storage.serde) for moment in moments]
            return [s for s in snapshots if (filter or {}).items() <= (s.metadata or {}).items()]

        return page

    def runs(self, thread_id: str | UUID, *, limit: int = 20) -> list[RunInfo]:
        """The latest runs of a thread, latest first; ``run.calls()`` lists what each has recorded.

        >>> from durably import InMemorySaver, entrypoint, task
        >>> @task
        ... def square(x: int) -> int:
        ...     return x * x
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def fourth(x: int) -> int:
        ...     return square(square(x).result()).result()
        >>> fourth.invoke(3, thread_id="a")
        81
        >>> [(call.name, call.value) for call in fourth.runs("a")[0].calls()]
        [('square', 9), ('square', 81)]
        """
        return drive(self._runs(thread_id, limit))

    async def aruns(self, thread_id: str | UUID, *, limit: int = 20) -> list[RunInfo]:
        """As `runs`, without blocking the running event loop."""
        return await adrive(self._runs(thread_id, limit))

    def _runs(self, thread_id: Any, limit: int) -> Steps[list[RunInfo]]:
        storage, options = self._addressed(None, thread_id)
        return (yield from Committer.of(storage).perform(list_runs(str(options.thread_id), limit, storage.serde)))  # type: ignore[no-any-return]

    # Changing.

    def update_state(
        self, config: Config | None, values: Any, as_node: str | None = None, *, thread_id: str | UUID | None = None
    ) -> dict[str, Any]:
        """Set what a thread returns and what its next run sees as ``previous``.

        Args:
            config: names the thread; with ``checkpoint_id`` the thread is forked at that moment.
            values: the value; an ``entrypoint.final`` sets what is returned and what is saved apart.
            as_node: accepted for ported programs.
            thread_id: names the thread instead.

        Returns:
            A config that addresses the new checkpoint.

        Raises:
            ThreadBusy: a run holds the thread.
        """
        return drive(self._update(config, values, thread_id))

    async def aupdate_state(
        self, config: Config | None, values: Any, as_node: str | None = None, *, thread_id: str | UUID | None = None
    ) -> dict[str, Any]:
        """As `update_state`, without blocking the running event loop."""
        return await adrive(self._update(config, values, thread_id))

    def bulk_update_state(self, config: Config, supersteps: Sequence[Sequence[StateUpdate]]) -> dict[str, Any]:
        """Several updates one after the other; returns a config that addresses the last checkpoint."""
        return drive(self._bulk_update(config, supersteps))

    async def abulk_update_state(self, config: Config, supersteps: Sequence[Sequence[StateUpdate]]) -> dict[str, Any]:
        """As `bulk_update_state`, without blocking the running event loop."""
        return await adrive(self._bulk_update(config, supersteps))

    def _bulk_update(self, config: Config, supersteps: Sequence[Sequence[StateUpdate]]) -> Steps[dict[str, Any]]:
        updates = [change for superstep in supersteps for change in superstep]
        if not updates:
            raise ConfigError("bulk_update_state() was given no updates")
        address: Any = config
        for change in updates:
            address = yield from self._update(address, change[0], None)
        return dict(address)

    def _update(self, config: Config | None, values: Any, thread_id: Any) -> Steps[dict[str, Any]]:
        storage, options = self._addressed(config, thread_id)
        run_id, serde = new_run_id(), storage.serde
        value, save = (values.value, values.save) if isinstance(values, FinalValue) else (values, values)
        saved = serde.dumps(save, run_place(run_id, "saved"))
        returned = None if save is value else serde.dumps(value, run_place(run_id, "value"))
        committer = Committer.of(storage)
        request = self._request(options, run_id)
        row: RunRow = yield from committer.perform(update(request, Owner.of(committer), serde, returned, saved))
        return _config(str(options.thread_id), checkpoint_of(row.run_id, END))

    def cancel(self, config: Config | None = None, *, thread_id: str | UUID | None = None) -> None:
        """End a thread's current run, whoever runs it: it can write nothing any more, and is not resumed.

        Raises:
            EmptyInputError: the thread has no open run.
        """
        drive(self._cancel(config, thread_id))

    async def acancel(self, config: Config | None = None, *, thread_id: str | UUID | None = None) -> None:
        """As `cancel`, without blocking the running event loop."""
        await adrive(self._cancel(config, thread_id))

    def _cancel(self, config: Config | None, thread_id: Any) -> Steps[None]:
        storage, options = self._addressed(config, thread_id)
        committer = Committer.of(storage)
        owner = Owner.of(committer)
        request = self._request(options, "")
        row: RunRow = yield from committer.perform(cancel(request, owner, storage.serde))
        owner.stop_older(row.thread_no, EVERYTHING)

    # Going back.

    def fork(
        self,
        config: Config | None = None,
        *,
        before: CallInfo | Key | None = None,
        set: dict[CallInfo | Key, Any] | None = None,
        thread_id: str | UUID | None = None,
        context: Any = None,
    ) -> Any:
        """Run a run again from one of its calls on, as a new run of the thread.

        Args:
            config: names the thread, and with ``checkpoint_id`` the run; by default its latest run.
            before: the call from which on calls are made again; None keeps all recorded ones.
            set: other results for some recorded calls.
            thread_id: names the thread instead.
            context: as for ``invoke``.

        Returns:
            As ``invoke``.

        >>> from durably import InMemorySaver, entrypoint, task
        >>> @task
        ... def draft(topic: str) -> str:
        ...     return f"on {topic}"
        >>> @task
        ... def polish(text: str) -> str:
        ...     return text.upper()
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def write(topic: str) -> str:
        ...     return polish(draft(topic).result()).result()
        >>> write.invoke("rivers", thread_id="a")
        'ON RIVERS'
        >>> first, second = write.runs("a")[0].calls()
        >>> write.fork(thread_id="a", before=second, set={first: "about rivers"})
        'ABOUT RIVERS'
        """
        invocation = drive(self._forked(config, before, set, thread_id, context))
        return output(run_blocking(invocation), "v1")

    async def afork(
        self,
        config: Config | None = None,
        *,
        before: CallInfo | Key | None = None,
        set: dict[CallInfo | Key, Any] | None = None,
        thread_id: str | UUID | None = None,
        context: Any = None,
    ) -> Any:
        """As `fork`, without blocking the running event loop."""
        invocation = await adrive(self._forked(config, before, set, thread_id, context))
        return output(await run_awaiting(invocation), "v1")

    def _forked(self, config: Config | None, before: Any, set: Any, thread_id: Any, context: Any) -> Steps[Any]:
        storage, options = self._addressed(config, thread_id)
        if options.checkpoint_id is None:
            runs = yield from Committer.of(storage).perform(list_runs(str(options.thread_id), 1, storage.serde))
            if not runs:
                raise EmptyInputError(f"thread {options.thread_id!r} has never run, so there is nothing to fork")
            config = merge_configs(config, runs[0].config)
        fork = Fork(_key(before), tuple((_key(call), value) for call, value in (set or {}).items()))
        return invocation_of(
            self._function, self._settings, None, config, thread_id=thread_id, context=context, fork=fork
        )

    # Taking over.

    def recover(self, *, context: Any = None, max_concurrency: int = 8) -> dict[str, Any]:
        """Finish the runs of this workflow whose processes are gone. Safe to call from many processes at once.

        Args:
            context: what the runs read as ``runtime.context``, or a function that takes a thread id and gives it.
            max_concurrency: how many runs at once.

        Returns:
            For each thread that was taken over what ``invoke`` would have returned, or the exception it would have raised.

        Raises:
            ConfigError: the workflow needs a context and was given none.
        """
        threads = drive(self._abandoned(context))
        if not threads:
            return {}
        with ThreadPoolExecutor(min(max_concurrency, len(threads)), thread_name_prefix="durably-recover") as executor:
            results = list(executor.map(lambda thread: self._take_over(thread, context), threads))
        return {thread: result[0] for thread, result in zip(threads, results, strict=True) if result}

    async def arecover(self, *, context: Any = None, max_concurrency: int = 8) -> dict[str, Any]:
        """As `recover`, on the running event loop."""
        threads = await adrive(self._abandoned(context))
        at_once = asyncio.Semaphore(max_concurrency)

        async def one(thread: str) -> tuple[Any, ...]:
            async with at_once:
                try:
                    return (output(await run_awaiting(self._resumption(thread, context)), "v1"),)
                except Exception as error:
                    return _taken_by_others(error)

        results = await asyncio.gather(*(one(thread) for thread in threads))
        return {thread: result[0] for thread, result in zip(threads, results, strict=True) if result}

    def _abandoned(self, context: Any) -> Steps[list[str]]:
        storage = self._storage()
        if self._settings.context_schema is not None and context is None:
            raise ConfigError(
                f"workflow {self._function.name!r} needs a context ({self._settings.context_schema.__name__}), which is "
                "never stored: give recover(context=...) one, or a function from thread ids to contexts"
            )
        committer = Committer.of(storage)
        return (yield from committer.perform(abandoned(self._function.name, Owner.of(committer))))  # type: ignore[no-any-return]

    def _take_over(self, thread: str, context: Any) -> tuple[Any, ...]:
        try:
            return (output(run_blocking(self._resumption(thread, context)), "v1"),)
        except Exception as error:
            return _taken_by_others(error)

    def _resumption(self, thread: str, context: Any) -> Any:
        given = context(thread) if callable(context) else context
        return invocation_of(self._function, self._settings, None, None, thread_id=thread, context=given)

    # Addressing.

    def _storage(self) -> BaseCheckpointer:
        storage = self._settings.storage
        if storage is None:
            raise ConfigError(
                f"workflow {self._function.name!r} stores nothing, so its threads have no state: "
                "declare @entrypoint(checkpointer=...)"
            )
        return storage

    def _addressed(self, config: Config | None, thread_id: Any) -> tuple[BaseCheckpointer, Options]:
        storage = self._storage()
        options = options_from(merge_configs(self._settings.config, config), thread_id=thread_id)
        if options.thread_id is None:
            raise ConfigError('name the thread: {"configurable": {"thread_id": "1"}}, or thread_id="1"')
        return storage, options

    def _request(self, options: Options, run_id: str) -> Request:
        return Request(
            workflow=self._function.name,
            thread_id=str(options.thread_id),
            kind="input",
            answer=None,
            run_id=run_id,
            input=b"",
            head=Head(options.durability, extra=encode_extra(options.config)),
            checkpoint_id=options.checkpoint_id,
        )


def _config(thread_id: str, checkpoint_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}


def _key(call: CallInfo | Key | None) -> Any:
    return call.key if isinstance(call, CallInfo) else call


def _taken_by_others(error: Exception) -> tuple[Any, ...]:
    """Nothing where somebody else was faster; otherwise the exception as the result."""
    return () if isinstance(error, (ThreadBusy, EmptyInputError)) else (error,)
