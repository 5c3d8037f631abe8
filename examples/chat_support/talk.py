"""What tasks say: to the model, and to whoever watches the run."""

from __future__ import annotations

from dataclasses import dataclass

from durably import RetryPolicy, get_runtime, get_stream_writer
from essay_support.model import ChatModel, Messages, ModelUnavailable

__all__ = ["PATIENTLY", "Aside", "Asked", "Guest", "Messages", "Piece", "aside", "ask", "say"]

PATIENTLY = RetryPolicy(max_attempts=4, retry_on=ModelUnavailable)

MANNERS = "You are a friendly assistant. Answer in one or two short sentences."


@dataclass(frozen=True)
class Guest:
    """Who is talking, and the model that answers: the context of each run, and so never stored."""

    name: str
    model: ChatModel


@dataclass(frozen=True)
class Asked:
    """The model was asked this."""

    text: str


@dataclass(frozen=True)
class Piece:
    """The next few characters of an answer."""

    text: str


@dataclass(frozen=True)
class Aside:
    """Something the bot did, for those who want to see how."""

    text: str


def say(history: Messages, knowledge: str = "") -> str:
    """The model's answer to the last message, shown piece by piece."""
    runtime, answer = get_runtime(Guest), ""
    runtime.stream_writer(Asked(history[-1]["content"]))
    manners = {"role": "system", "content": f"{MANNERS} {knowledge}".strip()}
    for piece in runtime.context.model.stream([manners, *history]):
        runtime.stream_writer(Piece(piece))
        answer += piece
    return answer.strip()


def ask(request: str) -> str:
    """The model's answer to a request of the program's own, which nobody sees."""
    return "".join(get_runtime(Guest).context.model.stream([{"role": "user", "content": request}])).strip()


def aside(text: str) -> None:
    """Tell whoever watches what the bot just did."""
    get_stream_writer()(Aside(text))
