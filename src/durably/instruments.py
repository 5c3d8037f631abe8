"""Code that runs around bodies: what tracers and callback systems plug into.

An instrument is a generator function that takes a `Body`. What stands before its ``yield`` runs in the body's context
before the function is called; the ``yield`` gives what the body returned, or raises what it raised; the rest runs after
it. Context variables that an instrument sets are seen by the body and by the calls made in it.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping
from importlib import import_module
from logging import getLogger
from threading import Lock
from typing import Any, Literal, Protocol, TypeAlias

from .runtime import Runtime

__all__ = ["Body", "Instrument", "install", "installed", "when_imported"]

logger = getLogger("durably")


class Body(Protocol):
    """One execution of an entrypoint, a task or a nested workflow, as an instrument sees it."""

    @property
    def name(self) -> str:
        """Of the workflow or task."""
        ...

    @property
    def kind(self) -> Literal["workflow", "task"]:
        """What it is."""
        ...

    @property
    def is_root(self) -> bool:
        """Whether it is the run's own workflow, and no call made in it."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether it runs on an event loop, so that its instruments may wait there."""
        ...

    @property
    def input(self) -> Any:
        """A workflow's input; a task's arguments by name, without injected ones."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """As the body sees it."""
        ...

    @property
    def runtime(self) -> Runtime[Any]:
        """Which run, thread, call and attempt it is."""
        ...

    @property
    def labels(self) -> dict[str, Any]:
        """What says where a message comes from, in the metadata of mode ``messages``."""
        ...

    def configure(self, **entries: Any) -> None:
        """Change entries of the config that this attempt of the body sees."""
        ...

    def listens(self, mode: str) -> bool:
        """Whether anybody streams this mode, and would be shown what this body emits."""
        ...

    def skip(self, mode: str, id: str) -> None:
        """Take the thing with this id as shown: whoever streams this mode knows it."""
        ...

    def emit(self, mode: str, chunk: Any, *, piece_of: str = "", whole: str = "") -> None:
        """Hand a chunk to whoever streams this mode; from any thread.

        Args:
            mode: the stream mode.
            chunk: what to hand over.
            piece_of: the chunk is a piece of the thing with this id.
            whole: the chunk is that thing as a whole: it is not shown to those who were shown it, or a piece of it.
        """
        ...


Instrument: TypeAlias = Callable[[Body], Generator[Awaitable[Any] | None, Any, None]]
"""A generator function with one bare ``yield``, where the body runs. Around an async body it may also yield awaitables.

It cannot change the outcome. What it raises itself, the body raises.
"""

_lock = Lock()
_installed: tuple[Instrument, ...] = ()
_waiting: dict[tuple[str, str], str] = {}


def install(instrument: Instrument) -> Callable[[], None]:
    """Put an instrument around the bodies of all runs that begin from now on; the first one installed is outermost.

    Returns:
        What takes it away again.

    >>> from durably import entrypoint
    >>> def announced(body):
    ...     print("begin", body.name, body.input)
    ...     result = yield
    ...     print("end", body.name, result)
    >>> remove = install(announced)
    >>> @entrypoint()
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double.invoke(4)
    begin double 4
    end double 8
    8
    >>> remove()
    >>> double.invoke(4)
    8
    """
    global _installed
    with _lock:
        _installed = (*_installed, instrument)

    def remove() -> None:
        global _installed
        with _lock:
            _installed = tuple(other for other in _installed if other is not instrument)

    return remove


def when_imported(module: str, plugin: str, *, stream_mode: str = "") -> None:
    """Have a plug-in imported, which installs its instruments, once the program itself has imported a module.

    Looked at when a run begins.

    Args:
        module: the module whose presence switches the plug-in on, such as that of a tracing library.
        plugin: the module to import then.
        stream_mode: only for a run that somebody streams in this mode.
    """
    _waiting[module, stream_mode] = plugin


def installed(modes: Collection[str] = ()) -> tuple[Instrument, ...]:
    """The instruments for a run that begins now, and is streamed in these modes."""
    for (module, mode), plugin in tuple(_waiting.items()):
        if module in sys.modules and _is_imported(module) and (not mode or mode in modes):
            _plug_in(plugin)
            _waiting.pop((module, mode), None)  # afterwards, so that a run that begins meanwhile waits for the import
    return _installed


def _is_imported(name: str) -> bool:
    """Whether a module is there, and its import is not still under way."""
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _plug_in(plugin: str) -> None:
    try:
        import_module(plugin)
    except ImportError:  # a version of the library that the plug-in does not know
        logger.warning("%s cannot be imported, so what it is for does not happen", plugin, exc_info=True)
