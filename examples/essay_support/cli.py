"""The command line: one session of writing, asking and revising, on one thread of one SQLite file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import DurablyError, EmptyInputError
from durably.types import Command, Interrupt
from durably.workflow import Workflow

from .events import Began, listing
from .model import ChatModel, Endpoint, ModelRefused, ModelUnavailable
from .offline import SLOTS, OfflineModel
from .text import ACCEPT, Essay, Request, same_topic
from .view import About, View, open_view

DONE, FAILED, USAGE, UNANSWERED, STOPPED = 0, 1, 2, 0, 130

KEY = "OPENAI_API_KEY"

EPILOG = f"""\
examples:
  %(prog)s Bees
  %(prog)s "The history of tea" "Trade routes" "Tea houses"
  %(prog)s Bees --model gpt-4o-mini                                      (key in ${KEY})
  %(prog)s Bees --model llama3.2 --base-url http://localhost:11434/v1

Kill it at any moment and run the same command again: it goes on where it was.
exit status: 0 finished, or waiting for its review; 1 failed, 2 wrong usage, 130 stopped by Ctrl-C
"""


@dataclass(frozen=True)
class Options:
    """The command line, understood."""

    topic: str
    sections: list[str]
    model: ChatModel
    parallel: int
    state: str
    thread: str
    folder: str
    yes: bool
    new: bool


def main(build: Callable[[SqliteSaver], Workflow[Request, Essay]], argv: Sequence[str] | None = None) -> int:
    """Run the essay job as the command line says; return the exit status."""
    options = read_options(argv)
    view = open_view()
    try:
        with SqliteSaver.from_conn_string(options.state) as saver:
            return Session(build(saver), options, view).run()
    except KeyboardInterrupt:
        view.note("\nStopped. What is finished is kept: the same command goes on from here.")
        sys.stdout.flush()
        os._exit(STOPPED)  # at once: the model may be in the middle of a word, and nothing needs to be tidied up
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads on: `| head`
        return FAILED
    except (ModelUnavailable, ModelRefused, DurablyError) as error:
        view.problem(f"{error}\nWhat is finished is kept: the same command goes on from here.")
        return FAILED


class Unanswered(Exception):
    """A question was put to a reader who is not there."""


class Session:
    """Drives the workflow from where its thread stands to a finished essay."""

    def __init__(self, workflow: Workflow[Request, Essay], options: Options, view: View) -> None:
        self._workflow = workflow
        self._options = options
        self._view = view
        self._config = {
            "configurable": {"thread_id": options.thread},
            "max_concurrency": options.parallel,
            "grace": 0,  # Ctrl-C waits for nobody: a paragraph that was under way is written again
        }

    def run(self) -> int:
        """Finish what was left unfinished on the thread; then, unless that was it, write what is asked for."""
        options = self._options
        try:
            if not options.new:
                left = self._finish(None)
                if left is not None and same_topic(left.topic, options.topic):
                    return DONE
            self._finish(Request(options.topic, options.sections, options.folder))
        except Unanswered:
            self._view.note("Nobody answered. The draft is kept: the same command asks again.")
            return UNANSWERED
        return DONE

    def _finish(self, request: Request | None) -> Essay | None:
        """Write, ask and revise until the essay is accepted. None resumes; it gives None where nothing was left."""
        step: Request | Command | None = request
        while True:
            try:
                outcome = self._attempt(step)
            except EmptyInputError:
                return None
            if isinstance(outcome, Essay):
                self._view.finished(outcome)
                return outcome
            step = Command(resume=self._answer(outcome.value))

    def _attempt(self, step: Request | Command | None) -> Essay | Interrupt[Essay]:
        """Run the workflow up to its question or its end."""
        outcome: Essay | Interrupt[Essay] | None = None
        again = isinstance(step, Command)
        with self._view.working(again):
            for chunk in self._chunks(step):
                match chunk:
                    case "custom", Began(topic, earlier):
                        if not again:
                            self._open(topic, earlier, resumed=step is None)
                    case "custom", event:
                        self._view.see(event)
                    case "updates", {"__interrupt__": (question,)}:
                        outcome = question
                    case "updates", {"essay": Essay() as essay}:
                        outcome = essay
                    case "updates", {"write_paragraph": paragraph} | {"revise_paragraph": paragraph}:
                        self._view.see(paragraph)
        if outcome is None:
            raise AssertionError("the run ended without a question, a result or an exception")
        return outcome

    def _open(self, topic: str, earlier: list[str], resumed: bool) -> None:
        options = self._options
        self._view.opened(About(topic, options.model.name, options.thread, options.state, resumed))
        if not same_topic(topic, options.topic):
            self._view.note(f"“{options.topic}” comes after it; --new would leave this one behind.")
        if earlier:
            self._view.note(f"Remembers: {listing(earlier)}")

    def _chunks(self, step: Request | Command | None) -> Iterator[Any]:
        """Start or resume the workflow. With "sync" a paragraph shown as done is on the disk."""
        return self._workflow.stream(
            step,
            self._config,
            context=self._options.model,
            stream_mode=["custom", "updates"],
            durability="sync",
        )

    def _answer(self, draft: Essay) -> str:
        if self._options.yes:
            self._view.accept(draft)
            return ACCEPT
        answer = self._view.ask(draft)
        if answer is None:
            raise Unanswered
        return answer


def read_options(argv: Sequence[str] | None) -> Options:
    """Understand the command line; leaves the program where it makes no sense."""
    parser = _parser()
    given = parser.parse_args(argv)
    for name, text in (("topic", given.topic), *(("section", section) for section in given.sections)):
        if not text.strip() or len(text) > 120:
            parser.error(f"the {name} {text[:40]!r} has {len(text)} characters: give 1 to 120")
    return Options(
        topic=given.topic.strip(),
        sections=list(dict.fromkeys(section.strip() for section in given.sections)),
        model=_model(parser, given),
        parallel=SLOTS,
        state=given.state,
        thread=given.thread,
        folder=given.out,
        yes=given.yes,
        new=given.new,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=os.environ.get("ESSAY_COMMAND", "essay.py"),
        description="Write an essay with a language model, all paragraphs at once, and ask you about it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("topic", help="what the essay is about")
    parser.add_argument("sections", nargs="*", metavar="section", help="its sections (default: an outline is drawn up)")
    parser.add_argument("--model", help="a model behind an OpenAI-compatible endpoint (default: a small one, offline)")
    parser.add_argument("--base-url", help="the endpoint (default: $OPENAI_BASE_URL, or OpenAI itself)")
    parser.add_argument(
        "--out", default="essays", metavar="DIR", help="where finished essays go (default: %(default)s)"
    )
    parser.add_argument(
        "--state", default="essay.sqlite", metavar="FILE", help="the one state file (default: %(default)s)"
    )
    parser.add_argument("--thread", default="essays", metavar="ID", help="a line of essays that know each other")
    parser.add_argument("--new", action="store_true", help="leave an unfinished essay behind and begin a new one")
    parser.add_argument("--yes", action="store_true", help="accept the draft unasked")
    return parser


def _model(parser: argparse.ArgumentParser, given: argparse.Namespace) -> ChatModel:
    if given.model is None:
        if given.base_url is not None:
            parser.error("--base-url needs --model: the model's name at that endpoint")
        return OfflineModel()
    url = given.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    return Endpoint(url, given.model, os.environ.get(KEY))
