"""Names with a meaning of their own."""

from __future__ import annotations

from typing import Final

__all__ = ["END", "START"]

START: Final = "__start__"
"""Where a graph begins: what has an edge from here runs first."""

END: Final = "__end__"
"""Where a graph ends: an edge to here leads to no further node."""
