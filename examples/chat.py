"""A chatbot that remembers the conversation, however often its program ends.

    python examples/chat.py                                                    # a small model, offline
    python examples/chat.py --model gpt-4o-mini                                # its key in OPENAI_API_KEY
    python examples/chat.py --model llama3.2 --base-url http://localhost:11434/v1

Leave and come back tomorrow: it knows what was said. Kill it in the middle of an answer: the same command
answers. The whole of its memory is `previous`, what the run before this one returned.
"""

from __future__ import annotations

import sys

from chat_support import PATIENTLY, Messages, main, say
from durably import Workflow, entrypoint, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.graph.message import add_messages


@task(retry_policy=PATIENTLY)
def answer(history: Messages) -> str:
    return say(history)


def chatbot(file: str) -> Workflow[str, Messages]:
    """The workflow: one run for each message of the user."""

    @entrypoint(checkpointer=SqliteSaver(file))
    def chat(text: str, *, previous: Messages | None = None) -> Messages:
        history = add_messages(previous or [], {"role": "user", "content": text})
        return add_messages(history, {"role": "assistant", "content": answer(history).result()})

    return chat


if __name__ == "__main__":
    sys.exit(main(chatbot, __doc__))
