"""The one context variable: which scope of which run does this code belong to.

Everything that user code reaches without naming it (`interrupt`, `get_config`, a task call) asks here. The engine sets
the variable inside the context copied for each body, so it needs no reset and follows ``asyncio`` tasks and threads that
carry their context.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol

from .errors import OutsideRunError

__all__ = ["Place", "current", "here"]


class Place(Protocol):
    """What the words of the user's vocabulary need to know about the scope they are spoken in."""

    def ask(self, value: Any, response_schema: Any) -> Any:
        """Put a question, or return its recorded answer."""
        ...

    def config(self) -> Mapping[str, Any]:
        """The config of the body under way."""
        ...

    def runtime(self) -> Any:
        """The `durably.runtime.Runtime` of the body under way."""
        ...

    def once(self, store: Any) -> tuple[str, str]:
        """The run and the call under way, for a write to ``store`` that is made once; at its end the run tells it."""
        ...

    def writer(self, mode: str) -> Any:
        """The `durably.types.StreamWriter` of the body under way for one stream mode."""
        ...


current: ContextVar[Place | None] = ContextVar("durably_scope", default=None)


def here(what: str) -> Place:
    """The current scope; raises `OutsideRunError` saying that ``what`` needs one."""
    place = current.get()
    return place if place is not None else _outside(what)


def _outside(what: str) -> NoReturn:
    raise OutsideRunError(
        f"{what} was called outside a run. Call it from a function marked @entrypoint, or from a task such a function "
        "called. In a thread you started yourself the run is not known either: start it with asyncio.to_thread, with "
        "contextvars.copy_context().run, or wrap the function in durably.in_context."
    )
