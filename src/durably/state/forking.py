"""Running a run of the past again from one of its calls on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine.commit import Committer
from ..engine.history import CallInfo, list_runs
from ..engine.identity import Key
from ..engine.options import merge_configs
from ..engine.request import Fork
from ..engine.shells import run_awaiting, run_blocking
from ..engine.steps import Steps, adrive, drive
from ..errors import EmptyInputError
from ..invocation import Config, invocation_of, output
from .base import Addressing

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Forking"]


class Forking(Addressing):
    """What can be run again."""

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
            before: the call from which on calls are made again. What had ended before it is kept. By default the first
                call in ``set``; without any, what is recorded is kept, and failures are tried again.
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


def _key(call: CallInfo | Key | None) -> Any:
    return call.key if isinstance(call, CallInfo) else call
