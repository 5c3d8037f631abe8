"""The tables that a part of the library keeps in a database, by version."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Schema"]


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables that one part of the library keeps in a database, which other parts may share."""

    part: str
    """The part's name, such as ``"store"``; its tables begin with ``durably_``."""
    migrations: tuple[tuple[str, ...], ...]
    """The statements that lead from each version to the next, from an empty database on. Released ones never change."""

    @property
    def version(self) -> int:
        """The version that this library writes."""
        return len(self.migrations)
