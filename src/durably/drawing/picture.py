"""A picture of a run, in every form it can be had in."""

from __future__ import annotations

from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .facts import RunFacts
from .flow import flowchart_of
from .folding import Graph, fold
from .timeline import timeline_of

__all__ = ["Drawing"]


class Drawing:
    """A picture of a run, drawn when it is asked for.

    Calls alike are taken together where there are many, so that the picture of 10,000 calls can be read, too. Names and
    values, wherever they come from, are shown as text and never read as markup.

    Args:
        facts: the run.
    """

    def __init__(self, facts: RunFacts) -> None:
        self._facts = facts

    @cached_property
    def _graph(self) -> Graph:
        return fold(self._facts.calls)

    @cached_property
    def mermaid(self) -> str:
        """A flowchart for Mermaid: what came after what, and what was side by side."""
        return flowchart_of(self._facts, self._graph)

    @cached_property
    def svg(self) -> str:
        """A timeline in SVG: when each call was under way. Long pauses are shortened."""
        return timeline_of(self._facts, self._graph)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the picture to a file.

        Args:
            path: ends with ``.svg``, ``.mmd``, or ``.md`` for Mermaid in Markdown.

        Returns:
            The path.

        Raises:
            ConfigError: it ends otherwise.
        """
        path = Path(path)
        forms = {".svg": self._standalone, ".mmd": self._plain, ".md": self._fenced}
        form = forms.get(path.suffix.lower())
        if form is None:
            raise ConfigError(f"a drawing cannot be saved as {path.name!r}: end the name with {', '.join(forms)}")
        path.write_text(form(), encoding="utf-8")
        return path

    def _standalone(self) -> str:
        return f"{self.svg}\n"

    def _plain(self) -> str:
        return f"{self.mermaid}\n"

    def _fenced(self) -> str:
        return f"```mermaid\n{self.mermaid}\n```\n"

    def __repr__(self) -> str:
        count = sum(1 for _ in self._facts.every_call())
        return f"<Drawing of {self._facts.workflow}, {self._facts.status}, {count} call{'' if count == 1 else 's'}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows."""
        return {"image/svg+xml": self.svg, "text/vnd.mermaid": self.mermaid, "text/plain": repr(self)}
