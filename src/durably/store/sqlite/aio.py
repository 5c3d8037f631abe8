"""The same store under its older name for asynchronous programs."""

from __future__ import annotations

from . import SqliteStore

__all__ = ["AsyncSqliteStore"]


class AsyncSqliteStore(SqliteStore):
    """`SqliteStore`, whose `setup` is awaited. Both have the sync and the async methods."""

    async def setup(self) -> None:  # type: ignore[override]
        """Do nothing: the tables are there once the store is."""
