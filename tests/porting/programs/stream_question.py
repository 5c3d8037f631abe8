"""A question in a stream of updates."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt


@task
def draft(topic: str) -> str:
    return f"about {topic}"


@entrypoint(checkpointer=InMemorySaver())
def write(topic: str) -> str:
    return f"{draft(topic).result()}, {interrupt('ok?')}"


def shown(chunk: dict) -> dict:
    return {key: [q.value for q in value] if key == "__interrupt__" else value for key, value in chunk.items()}


config = {"configurable": {"thread_id": "1"}}
seen = [
    [shown(chunk) for chunk in write.stream("bees", config, stream_mode="updates")],
    [shown(chunk) for chunk in write.stream(Command(resume="fine"), config, stream_mode="updates")],
]
expected = [
    [{"draft": "about bees"}, {"__interrupt__": ["ok?"]}],
    [{"write": "about bees, fine"}],
]
