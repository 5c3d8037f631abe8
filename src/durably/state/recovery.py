"""Going on with runs that nobody is at: those of processes that are gone, submitted ones, those that have slept enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from msgspec.structs import replace

from ..engine.attempt import Invocation
from ..engine.due import claim_due, hand_back, info_of
from ..engine.ending import Asked
from ..engine.function import Function
from ..engine.request import Claim
from ..engine.search import ThreadInfo
from ..engine.shells import run_awaiting, run_blocking
from ..engine.steps import Steps, adrive, drive
from ..errors import ConfigError
from ..invocation import Settings, invocation_of, output
from ..runtime import RunControl
from .base import Addressing

__all__ = ["ContextFor", "Recovery", "check_context", "resumption"]

ContextFor: TypeAlias = Any | Callable[[ThreadInfo], Any]
"""What runs read as ``runtime.context``, or a function that takes a run and gives it."""


def check_context(function: Function, settings: Settings, context: Any, whose: str) -> None:
    """A context is never stored, so whoever goes on with the runs of others has to have one.

    Raises:
        ConfigError: the workflow needs a context and was given none.
    """
    if settings.context_schema is not None and context is None:
        raise ConfigError(
            f"workflow {function.name!r} needs a context ({settings.context_schema.__name__}), which is never stored: give "
            f"{whose}(context=...) one, or a function from runs to contexts. Until then its runs stay pending."
        )


def resumption(
    function: Function, settings: Settings, claim: Claim, context: ContextFor, control: RunControl | None = None
) -> Invocation:
    """The next attempt of a run that was taken.

    Raises:
        Exception: whatever the function for contexts raised.
        ConfigError: it gave none, or one that does not fit.
    """
    info = info_of(claim)
    given = context(info) if callable(context) else context
    if given is None and settings.context_schema is not None:
        raise ConfigError(
            f"run {info.run_id} on thread {info.thread_id!r} needs a context ({settings.context_schema.__name__}), and the "
            "function that gives contexts gave None: the run stays pending"
        )
    invocation = invocation_of(function, settings, None, None, thread_id=info.thread_id, context=given, control=control)
    return replace(invocation, kind="due", claim=claim)


class Recovery(Addressing):
    """What goes on with runs that nobody is at."""

    def recover(self, *, context: ContextFor = None, max_concurrency: int = 8) -> dict[str, Any]:
        """Go on with the runs of this workflow that nobody is at, as one pass of a worker.

        These are the runs whose processes are gone, and those that were submitted. Safe to call from many processes at once.

        Args:
            context: what the runs read as ``runtime.context``, or a function that takes a run (a `ThreadInfo`) and gives it.
            max_concurrency: how many runs at once.

        Returns:
            For each thread that was taken over what ``invoke`` would have returned, or the exception it would have raised.

        Raises:
            ConfigError: the workflow needs a context and was given none.
        """
        turn = _Pass(self, context)
        claims = drive(turn.claim(max_concurrency))

        def lane(claim: Claim | None) -> None:
            while claim is not None:
                invocation = turn.begin(claim)
                if invocation is not None:
                    try:
                        turn.end(claim, run_blocking(invocation))
                    except Exception as error:
                        turn.end(claim, error)
                claim = next(iter(drive(turn.claim(1))), None)

        if claims:
            with ThreadPoolExecutor(len(claims), thread_name_prefix="durably-recover") as executor:
                list(executor.map(lane, claims))
        drive(turn.close())
        return turn.results

    async def arecover(self, *, context: ContextFor = None, max_concurrency: int = 8) -> dict[str, Any]:
        """As `recover`, on the running event loop."""
        turn = _Pass(self, context)

        async def lane(claim: Claim | None) -> None:
            while claim is not None:
                invocation = turn.begin(claim)
                if invocation is not None:
                    try:
                        turn.end(claim, await run_awaiting(invocation))
                    except Exception as error:
                        turn.end(claim, error)
                claim = next(iter(await adrive(turn.claim(1))), None)

        await asyncio.gather(*map(lane, await adrive(turn.claim(max_concurrency))))
        await adrive(turn.close())
        return turn.results


class _Pass:
    """One pass over the due runs of a workflow, with several of them side by side."""

    def __init__(self, recovery: Recovery, context: ContextFor) -> None:
        self._checkpointer = recovery._storage()
        self._function, self._settings = recovery._function, recovery._settings
        self._context = context
        self._refused: list[tuple[Claim, Exception]] = []
        self.results: dict[str, Any] = {}
        check_context(self._function, self._settings, context, "recover")

    def claim(self, limit: int) -> Steps[list[Claim]]:
        """Take so many of the runs that are due."""
        return (yield from claim_due(self._checkpointer, [self._function.name], limit)).claims

    def begin(self, claim: Claim) -> Invocation | None:
        """The attempt to make; None where there is no context for it, and the run is given back after the pass."""
        try:
            return resumption(self._function, self._settings, claim, self._context)
        except Exception as error:
            self._refused.append((claim, error))
            self.end(claim, error)
            return None

    def end(self, claim: Claim, ended: Any) -> None:
        """An attempt has returned or raised."""
        if not (isinstance(ended, Asked) and ended.is_asleep):
            value = ended if isinstance(ended, Exception) else output(ended, "v1")
            self.results[claim.admitted.thread.thread_id] = value

    def close(self) -> Steps[None]:
        """Give back what could not be begun."""
        for claim, error in self._refused:
            yield from hand_back(self._checkpointer, claim, error, 0.0)
