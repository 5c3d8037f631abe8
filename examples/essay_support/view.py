"""The screen, as the session sees it, and its plain form: lines of text, for pipes, files and tests."""

from __future__ import annotations

import sys
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Protocol

from .events import Event, Progress, Reused, Started, times
from .text import Essay, Paragraph

HOW_TO_ANSWER = "Enter accepts. Or say what to change: “simpler words”; “2: shorter” for paragraph 2 alone."


@dataclass(frozen=True)
class About:
    """What is going on, for the headline."""

    topic: str
    model: str
    thread: str
    state: str
    resumed: bool


class View(Protocol):
    """What shows a session to a person."""

    def opened(self, about: About) -> None:
        """A session begins."""

    @abstractmethod
    def working(self, again: bool) -> AbstractContextManager[None]:
        """The workflow runs inside this block; ``again`` where the reader has seen what it starts with."""

    def see(self, event: Event) -> None:
        """Something happened in the workflow."""

    @abstractmethod
    def ask(self, draft: Essay) -> str | None:
        """Show the draft and return what the reader says to it; None where nobody answers."""

    def accept(self, draft: Essay) -> None:
        """Show the draft; it is accepted unasked."""

    def finished(self, essay: Essay) -> None:
        """The essay is written to its file."""

    def note(self, text: str) -> None:
        """Something worth saying."""

    def problem(self, text: str) -> None:
        """Something went wrong."""


class PlainView:
    """Lines of text, nothing that moves."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._again = False

    def opened(self, about: About) -> None:
        what = "going on with" if about.resumed else "writing"
        where = f"model {about.model}, thread {about.thread}, state {about.state}"
        print(f"{what} “{about.topic}” ({where})")

    @contextmanager
    def working(self, again: bool) -> Iterator[None]:
        self._again = again
        yield

    def see(self, event: Event) -> None:
        now = time.monotonic()
        self._progress.see(event, now)
        match event:
            case Reused(paragraphs) if not self._again:
                for paragraph in paragraphs:
                    if self._progress.rows[paragraph.section].state == "reused":
                        print(f"reused: {paragraph.section}")
            case Started(section):
                print(f"{self._progress.title.lower()}: {section}", flush=True)
            case Paragraph(section):
                row = self._progress.rows[section]
                print(f"done: {section} ({times(row.tokens, 'token')} in {row.seconds(now):.1f} s)", flush=True)

    def ask(self, draft: Essay) -> str | None:
        self.accept(draft)
        print(f"{HOW_TO_ANSWER}\n> ", end="", flush=True)
        line = sys.stdin.readline()
        print()
        return line.strip() if line else None

    def accept(self, draft: Essay) -> None:
        print(f"\n{draft.topic}")
        for n, paragraph in enumerate(draft.paragraphs, 1):
            print(f"\n{n}. {paragraph.section}\n{paragraph.text}")
        print()

    def finished(self, essay: Essay) -> None:
        print(f"saved: {essay.path}")

    def note(self, text: str) -> None:
        print(text, flush=True)

    def problem(self, text: str) -> None:
        print(f"error: {text}", file=sys.stderr, flush=True)


def open_view() -> View:
    """The live screen on a terminal that can show one (and where ``rich`` is installed), else plain lines."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter must not end the run
    if sys.stdout.isatty():
        try:
            from rich.console import Console

            from .live import LiveView
        except ImportError:
            return PlainView()
        console = Console(highlight=False)
        if not console.is_dumb_terminal:
            return LiveView(console)
    return PlainView()
