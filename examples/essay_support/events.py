"""What the tasks tell the screen, and how far along the work is by that. No input or output here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from .text import Paragraph

State = Literal["waiting", "writing", "done", "reused"]


@dataclass(frozen=True)
class Began:
    """An attempt has begun; the run knows these earlier topics."""

    topic: str
    earlier: list[str]


@dataclass(frozen=True)
class Round:
    """These sections are about to be written."""

    title: str
    sections: list[str]


@dataclass(frozen=True)
class Reused:
    """These paragraphs are there already, written by an earlier attempt."""

    paragraphs: list[Paragraph]


@dataclass(frozen=True)
class Started:
    """The model was asked for a section."""

    section: str


@dataclass(frozen=True)
class Piece:
    """The next few characters of a section."""

    section: str
    text: str


Event = Began | Round | Reused | Started | Piece | Paragraph
"""A `Paragraph` is the result of a task: it is written, and recorded."""


@dataclass
class Row:
    """One section on the screen. Times are in seconds, on the clock of whoever calls `Progress.see`."""

    section: str
    state: State = "waiting"
    text: str = ""
    tokens: int = 0
    began: float = 0.0
    ended: float | None = None

    def seconds(self, now: float) -> float:
        """How long it has been in the writing."""
        return (now if self.ended is None else self.ended) - self.began if self.state in ("writing", "done") else 0.0


@dataclass
class Progress:
    """How far along a round is."""

    title: str = "Writing"
    rows: dict[str, Row] = field(default_factory=dict)
    began: float = 0.0

    def see(self, event: Event, now: float) -> None:
        """Take an event in."""
        match event:
            case Round(title, sections):
                self.title, self.began = title, now
                self.rows = {section: Row(section) for section in sections}
            case Reused(paragraphs):
                for paragraph in paragraphs:
                    # A row that has started was written by this attempt, before anyone could look.
                    if self.rows[paragraph.section].state == "waiting":
                        self.rows[paragraph.section] = Row(paragraph.section, "reused", paragraph.text)
            case Started(section):
                self.rows[section] = Row(section, "writing", began=now)
            case Piece(section, text):
                row = self.rows[section]
                row.text += text
                row.tokens += 1
            case Paragraph(section, text):
                row = self.rows[section]
                row.state, row.text, row.ended = "done", text, now
            case Began():
                pass

    def count(self, *states: State) -> int:
        """How many sections are in one of these states."""
        return sum(row.state in states for row in self.rows.values())

    @property
    def tokens(self) -> int:
        """How many tokens were written in this round, by this process."""
        return sum(row.tokens for row in self.rows.values())

    def seconds(self, now: float) -> float:
        """Since the round began."""
        return now - self.began


def times(count: int, thing: str) -> str:
    """
    >>> times(1, "paragraph"), times(2, "paragraph")
    ('1 paragraph', '2 paragraphs')
    """
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def listing(topics: Sequence[str]) -> str:
    """The topics, each once, the latest last; not more than fit on a line."""
    distinct = list(dict.fromkeys(topics))
    shown = distinct[-4:]
    more = len(distinct) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
