"""Reach the config, the store and the stream writer of the body under way without a parameter for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .context import here
from .errors import ConfigError

if TYPE_CHECKING:
    from .store.base import BaseStore
    from .types import StreamWriter

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


def get_stream_writer() -> StreamWriter:
    """The function that hands a value to whoever streams the run in mode ``custom``.

    Raises:
        OutsideRunError: where no run is under way.

    >>> from durably.func import entrypoint
    >>> @entrypoint()
    ... def count(n: int) -> int:
    ...     for i in range(n):
    ...         get_stream_writer()(i)
    ...     return n
    >>> list(count.stream(2, stream_mode="custom"))
    [0, 1]
    """
    writer: StreamWriter = here("get_stream_writer()").runtime().stream_writer
    return writer
