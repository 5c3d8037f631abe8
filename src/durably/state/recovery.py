"""Finishing what processes that are gone have begun."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec.structs import replace

from ..engine.commit import Committer
from ..engine.history import abandoned
from ..engine.owner import Owner
from ..engine.request import NotAbandoned
from ..engine.shells import run_awaiting, run_blocking
from ..engine.steps import Steps, adrive, drive
from ..errors import ConfigError
from ..invocation import invocation_of, output
from .base import Addressing

__all__ = ["Recovery"]


class Recovery(Addressing):
    """What takes over abandoned runs."""

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
                except NotAbandoned:
                    return ()
                except Exception as error:
                    return (error,)

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
        except NotAbandoned:  # somebody else was faster
            return ()
        except Exception as error:
            return (error,)

    def _resumption(self, thread: str, context: Any) -> Any:
        given = context(thread) if callable(context) else context
        invocation = invocation_of(self._function, self._settings, None, None, thread_id=thread, context=given)
        return replace(invocation, kind="recover")
