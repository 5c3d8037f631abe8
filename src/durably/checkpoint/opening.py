"""What `from_conn_string` and `setup` return: ported programs use them in both colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Opening", "Ready"]


class Closes(Protocol):
    """What an `Opening` opens."""

    def close(self) -> None:
        """Give back what it holds."""
        ...


S = TypeVar("S", bound=Closes)


class Ready:
    """What has been done already; awaiting it takes no time."""

    def __await__(self) -> Iterator[None]:
        return iter(())


class Opening(Generic[S]):
    """A checkpointer that a ``with`` or ``async with`` block opens and closes."""

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._saver: S | None = None

    def __enter__(self) -> S:
        self._saver = self._make()
        return self._saver

    def __exit__(self, *_: object) -> None:
        if self._saver is not None:
            self._saver.close()

    async def __aenter__(self) -> S:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()
