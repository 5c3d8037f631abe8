"""Reach the config, the store and the stream writer of the body under way without a parameter for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .context import here
from .errors import ConfigError
from .parts import STREAM_MODES

if TYPE_CHECKING:
    from .store.base import BaseStore
    from .types import StreamMode, StreamWriter

__all__ = ["get_config", "get_store", "get_stream_writer"]


def get_config() -> dict[str, Any]:
    """The config of the body under way, in the shape of ``langchain_core.runnables.RunnableConfig``.

    Raises:
        OutsideRunError: where no run is under way.

    >>> from durably.func import entrypoint
    >>> @entrypoint()
    ... def tagged(_: int) -> list[str]:
    ...     return get_config()["tags"]
    >>> tagged.invoke(1, {"tags": ["nightly"]})
    ['nightly']
    """
    return dict(here("get_config()").config())


def get_store() -> BaseStore:
    """The store of the workflow under way.

    Raises:
        ConfigError: when the workflow has no store.
        OutsideRunError: where no run is under way.
    """
    store: BaseStore | None = here("get_store()").runtime().store
    if store is None:
        raise ConfigError(
            "this workflow has no store: declare it with @entrypoint(store=InMemoryStore()) or another one"
        )
    return store


def get_stream_writer(mode: StreamMode = "custom") -> StreamWriter:
    """The function that hands a value to whoever streams the run.

    Args:
        mode: of which stream mode the value is. What a body writes as ``values`` is what the workflow's value is at that
            moment; such a body says the last one, too, and the library adds none at its end.

    Raises:
        OutsideRunError: where no run is under way.
        ConfigError: there is no such mode.

    >>> from durably.func import entrypoint
    >>> @entrypoint()
    ... def count(n: int) -> int:
    ...     for i in range(n):
    ...         get_stream_writer()(i)
    ...     return n
    >>> list(count.stream(2, stream_mode="custom"))
    [0, 1]
    """
    if mode not in STREAM_MODES:
        raise ConfigError(f"unknown stream mode {mode!r}: give one of {', '.join(map(repr, STREAM_MODES))}")
    writer: StreamWriter = here("get_stream_writer()").writer(mode)
    return writer
