"""The command line and the terminal: one line of the user, one answer of the workflow, until there are no more."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from durably import Workflow
from durably.errors import DurablyError
from essay_support.model import ChatModel, Endpoint, ModelRefused, ModelUnavailable
from essay_support.offline import OfflineModel

from .talk import Aside, Asked, Guest, Messages, Piece

DONE, FAILED, STOPPED = 0, 1, 130

BOLD, DIM, CYAN, PLAIN = "\033[1m", "\033[2m", "\033[36m", "\033[0m"


def main(
    build: Callable[[str], Workflow[str, Messages]],
    story: str | None,
    *,
    thread: str | None = "chat",
    argv: Sequence[str] | None = None,
) -> int:
    """Talk with a chatbot as the command line says; return the exit status.

    Args:
        build: makes the chatbot's workflow, given the file for all that it stores.
        story: what ``--help`` says.
        thread: the conversation to go on with by default; None begins a new one each time.
        argv: the command line, the program's own when left out.
    """
    given = _parser(story, thread).parse_args(argv)
    terminal = Terminal()
    try:
        guest = Guest(given.user, _model(given))
        Chat(build(given.state), given.thread or uuid4().hex[:8], guest, terminal).run(given.state)
    except KeyboardInterrupt:
        terminal.note("\nStopped. The same command goes on from here.")
        sys.stdout.flush()
        os._exit(STOPPED)  # at once: the model may be in the middle of a word
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads on: `| head`
        return FAILED
    except (ModelUnavailable, ModelRefused, DurablyError) as error:
        print(f"error: {error}\nThe question is kept: the same command answers it.", file=sys.stderr)
        return FAILED
    return DONE


@dataclass(frozen=True)
class Chat:
    """One sitting of a conversation."""

    workflow: Workflow[str, Messages]
    thread: str
    guest: Guest
    terminal: Terminal

    def run(self, state: str) -> None:
        """Show where the conversation stands, finish an answer that was cut off, then answer line after line."""
        terminal, snapshot = self.terminal, self.workflow.get_state(thread_id=self.thread)
        history: Messages = snapshot.values or []
        terminal.note(f"{self.guest.model.name}  ·  thread {self.thread}  ·  kept in {state}  ·  Ctrl-D leaves")
        if len(history) > 2:
            terminal.note(f"... {len(history) - 2} messages before")
        for message in history[-2:]:
            terminal.message(message["role"], message["content"])
        if snapshot.next:
            self._answer(None)
        for line in terminal.lines():
            self._answer(line)

    def _answer(self, text: str | None) -> None:
        """Answer one message; with None, the one that was left unanswered when the program ended."""
        config = {"configurable": {"thread_id": self.thread}, "grace": 0}
        spoken = False
        for _, chunk in self.workflow.stream(
            text, config, context=self.guest, stream_mode=["custom", "updates"], durability="sync"
        ):
            match chunk:
                case Asked(question) if text is None:
                    self.terminal.message("user", question)
                case Piece(piece):
                    self.terminal.piece(piece, first=not spoken)
                    spoken = True
                case Aside(note):
                    self.terminal.note(f"  {note}")
                case {"chat": [*_, question, reply]} if not spoken:  # said, and recorded, before the program ended
                    for message in (question, reply) if text is None else (reply,):
                        self.terminal.message(message["role"], message["content"])
        self.terminal.end()


class Terminal:
    """Lines of a conversation, with a little colour where there is a terminal that shows it."""

    def __init__(self) -> None:
        self._is_live = sys.stdin.isatty() and sys.stdout.isatty()
        self._has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._open = False

    def lines(self) -> Iterator[str]:
        """What the user says, line by line."""
        while True:
            print(self._name("user"), end="", flush=True)
            line = sys.stdin.readline()
            if not line or not self._is_live:
                print(line.rstrip("\n"))
            if not line:
                return
            if line.strip():
                yield line.strip()

    def message(self, role: str, text: str) -> None:
        """Show a message that is complete."""
        self.end()
        print(f"{self._name(role)}{text}", flush=True)

    def piece(self, text: str, *, first: bool) -> None:
        """Show the next few characters of an answer."""
        if first:
            self.end()
            print(self._name("assistant"), end="")
        print(text, end="", flush=True)
        self._open = True

    def note(self, text: str) -> None:
        """Show what is no part of the conversation."""
        self.end()
        print(f"{DIM}{text}{PLAIN}" if self._has_colour else text, flush=True)

    def end(self) -> None:
        """End the line that is being written."""
        if self._open:
            print(flush=True)
        self._open = False

    def _name(self, role: str) -> str:
        name = {"user": "you", "assistant": "bot"}.get(role, role)
        return f"{BOLD}{CYAN if role == 'user' else ''}{name} > {PLAIN}" if self._has_colour else f"{name} > "


def _parser(story: str | None, thread: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=story, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model behind an OpenAI-compatible endpoint (default: a small one, offline)")
    parser.add_argument("--base-url", help="the endpoint (default: $OPENAI_BASE_URL, or OpenAI itself)")
    parser.add_argument("--user", default="you", metavar="NAME", help="who is talking (default: %(default)s)")
    parser.add_argument(
        "--thread", default=thread, metavar="ID", help=f"which conversation (default: {thread or 'new'})"
    )
    parser.add_argument("--state", default="chat.sqlite", metavar="FILE", help="what is kept (default: %(default)s)")
    return parser


def _model(given: argparse.Namespace) -> ChatModel:
    if given.model is None:
        return OfflineModel()
    url = given.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    return Endpoint(url, given.model, os.environ.get("OPENAI_API_KEY"))
