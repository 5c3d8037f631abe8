"""A chatbot whose conversations may be longer than what its model can read.

    python examples/chat_summary.py
    python examples/chat_summary.py --model gpt-4o-mini      # its key in OPENAI_API_KEY

When the conversation has grown too long, the model sums up what is old, and goes on with that and with what is
recent. So a question costs about the same after a thousand messages as after ten.
"""

from __future__ import annotations

import sys

from chat_support import PATIENTLY, Messages, aside, ask, main, say
from durably import Workflow, entrypoint, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.graph.message import add_messages, approximate_tokens, trim_messages

LONGEST, RECENT = 400, 150
"""Tokens from which on a conversation is too long, and those that stay as they are then."""


@task(retry_policy=PATIENTLY)
def summarise(messages: Messages) -> str:
    text = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
    summary = ask(f"Sum up this conversation in three short sentences, with all names and facts.\n\n{text}")
    aside(f"sums up {len(messages)} messages: “{summary}”")
    return f"So far: {summary}"


@task(retry_policy=PATIENTLY)
def answer(history: Messages) -> str:
    return say(history)


def shortened(history: Messages) -> Messages:
    """The conversation, with a summary in place of what is old once it is too long."""
    if sum(map(approximate_tokens, history)) <= LONGEST:
        return history
    recent = trim_messages(history, max_tokens=RECENT, keep_system=False, start_on_user=True) or history[-1:]
    return [{"role": "system", "content": summarise(history[: -len(recent)]).result()}, *recent]


def chatbot(file: str) -> Workflow[str, Messages]:
    """The workflow: one run for each message of the user."""

    @entrypoint(checkpointer=SqliteSaver(file))
    def chat(text: str, *, previous: Messages | None = None) -> Messages:
        history = shortened(add_messages(previous or [], {"role": "user", "content": text}))
        return add_messages(history, {"role": "assistant", "content": answer(history).result()})

    return chat


if __name__ == "__main__":
    sys.exit(main(chatbot, __doc__, thread="long"))
