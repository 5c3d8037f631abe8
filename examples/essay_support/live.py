"""The screen on a terminal: a panel for each paragraph, filling as the model writes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .events import Event, Progress, Reused, Round, Row, State, times
from .text import Essay
from .view import HOW_TO_ANSWER, About

MARKS: dict[State, str] = {"waiting": "·", "writing": "▸", "done": "✓", "reused": "↺"}
STYLES: dict[State, str] = {"waiting": "dim", "writing": "cyan", "done": "green", "reused": "blue"}

READABLE = 92
"""No line of prose is longer than this many columns."""


class LiveView:
    """Shows a session on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress()
        self._live: Live | None = None
        self._screen = Screen(self._progress)
        self._again = False

    def opened(self, about: About) -> None:
        self._screen.state = about.state
        self._console.print()
        self._console.print(Rule(Text(f"{about.topic} ", "bold"), align="left", style="dim"))
        where = f"{about.model}  ·  thread {about.thread}  ·  state in {about.state}"
        self._console.print(Text(where, "dim"))
        if about.resumed:
            self._console.print(Text("↺ Going on where it stopped", "blue"))

    @contextmanager
    def working(self, again: bool) -> Iterator[None]:
        self._again = again
        with Live(self._screen, console=self._console, transient=True, refresh_per_second=10) as self._live:
            # Killed outright, nobody could show the cursor again: leave it visible.
            self._console.show_cursor(True)
            try:
                yield
            finally:
                self._summarize()
                self._live = None

    def see(self, event: Event) -> None:
        if isinstance(event, Round):
            self._summarize()
        self._progress.see(event, time.monotonic())
        reused = self._progress.count("reused")
        if isinstance(event, Reused) and reused and not self._again:
            verb = "written" if self._progress.title == "Writing" else "revised"
            of = f"{reused} of {times(len(self._progress.rows), 'paragraph')}"
            self._console.print(Text(f"↺ {of} already {verb}, reused as recorded", "blue"))

    def ask(self, draft: Essay) -> str | None:
        self.accept(draft)
        self._console.print(Padding(Text(HOW_TO_ANSWER, "dim"), (1, 0, 0, 0)))
        forget_typed_ahead()
        try:
            return input("Your answer: ").strip()
        except EOFError:
            self._console.print()
            return None

    def accept(self, draft: Essay) -> None:
        width = min(self._console.width, READABLE)
        for n, paragraph in enumerate(draft.paragraphs, 1):
            self._console.print(Padding(Text(f"{n}  {paragraph.section}", "bold"), (1, 0, 0, 0)))
            self._console.print(Padding(Text(paragraph.text), (0, 0, 0, 3)), width=width)

    def finished(self, essay: Essay) -> None:
        self._console.print(Text.assemble(("\n✓ ", "green"), "Saved to ", (essay.path, "bold")))

    def note(self, text: str) -> None:
        self._console.print(Text(text, "dim"))

    def problem(self, text: str) -> None:
        self._console.print(Text.assemble(("✗ ", "red"), text))

    def _summarize(self) -> None:
        """Leave one line about the round that the live part showed."""
        if self._progress.count("done"):
            self._console.print(Text.assemble(("✓ ", "green"), summary(self._progress, time.monotonic())))
        self._progress.rows = {}


def summary(progress: Progress, now: float) -> str:
    """One line: what was written, how much of it, how fast."""
    seconds = progress.seconds(now)
    speed = progress.tokens / max(seconds, 0.1)
    written = f"{times(progress.count('done'), 'paragraph')} in {seconds:.1f} s"
    return f"{written}  ·  {times(progress.tokens, 'token')}  ·  {speed:.0f} tokens/s"


def forget_typed_ahead() -> None:
    """A key pressed while the model was writing is no answer to a question asked later."""
    if not sys.stdin.isatty():
        return
    try:
        import readline  # noqa: F401  gives input() its editing keys
        import termios
    except ImportError:
        return
    termios.tcflush(sys.stdin, termios.TCIFLUSH)


class Screen:
    """The moving part: as many lines of each paragraph as the terminal has room for."""

    def __init__(self, progress: Progress, state: str = "") -> None:
        self._progress = progress
        self.state = state
        self._spinner = Spinner("dots", style="cyan")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows, now = list(self._progress.rows.values()), time.monotonic()
        if all(row.state == "reused" for row in rows):
            self._spinner.update(text=Text("getting ready", "dim"))
            yield self._spinner
            return
        columns = 2 if options.max_width >= 100 and len(rows) > 1 else 1
        room = console.height - 4
        lines = room // -(-len(rows) // columns) - 2
        if lines >= 2:
            yield self._panels(console, rows, columns, min(lines, 8), now)
        else:
            yield self._lines(rows, room, now)
        yield self._footer(now)

    def _panels(self, console: Console, rows: list[Row], columns: int, lines: int, now: float) -> RenderableType:
        grid = Table.grid(expand=True, padding=(0, 1), pad_edge=False)
        for _ in range(columns):
            grid.add_column(ratio=1)
        width = (console.width - (columns - 1)) // columns - 4
        panels = [panel(row, tail(console, row.text, lines, width), lines, now) for row in rows]
        for n in range(0, len(panels), columns):
            grid.add_row(*panels[n : n + columns])
        return grid

    def _lines(self, rows: list[Row], room: int, now: float) -> RenderableType:
        """A line for each paragraph; where even these are too many, the busy ones first."""
        order: tuple[State, ...] = ("writing", "waiting", "done", "reused")
        shown = rows if len(rows) <= room else sorted(rows, key=lambda row: order.index(row.state))[: room - 1]
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(width=1)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=2, no_wrap=True, overflow="crop")
        table.add_column(justify="right", no_wrap=True)
        for row in shown:
            style = STYLES[row.state]
            table.add_row(
                Text(MARKS[row.state], style),
                row.section,
                Text(row.text[-40:], "dim"),
                Text(told(row, now), style),
            )
        if len(shown) < len(rows):
            return Group(table, Text(f"  and {len(rows) - len(shown)} more", "dim"))
        return table

    def _footer(self, now: float) -> RenderableType:
        progress = self._progress
        finished, total = progress.count("done", "reused"), len(progress.rows)
        seconds = progress.seconds(now)
        speed = f"  ·  {progress.tokens / seconds:.0f} tokens/s" if progress.tokens and seconds > 0.5 else ""
        line = Table.grid(padding=(0, 2))
        line.add_row(
            ProgressBar(total, finished, width=16, complete_style="green", finished_style="green"),
            Text(f"{progress.title}  {finished} of {total}{speed}  ·  {seconds:.0f} s"),
        )
        hint = Text(f"Kill me at any time, run me again: what is finished is in {self.state}", "dim")
        return Group(line, hint)


def panel(row: Row, text: Text, lines: int, now: float) -> Panel:
    """A paragraph in its frame."""
    return Panel(
        text,
        title=Text.assemble(f"{MARKS[row.state]} ", (row.section, "bold" if row.state != "waiting" else "")),
        title_align="left",
        subtitle=Text(told(row, now)),
        subtitle_align="right",
        border_style=STYLES[row.state],
        height=lines + 2,
    )


def told(row: Row, now: float) -> str:
    """A paragraph's state in a few words."""
    if row.state == "writing" and not row.tokens:
        return "thinking"
    if row.state in ("writing", "done"):
        return f"{times(row.tokens, 'token')}  {row.seconds(now):.1f} s"
    return row.state


def tail(console: Console, text: str, lines: int, width: int) -> Text:
    """The last lines of a text, wrapped to a width."""
    return Text("\n").join(Text(text.strip()).wrap(console, max(width, 1))[-lines:])
