"""A run is made again from its start, and from a moment of the past the thread goes another way."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

calls = []


@task
def draft(topic: str) -> str:
    calls.append(topic)
    return f"about {topic}"


@entrypoint(checkpointer=InMemorySaver())
def write(topic: str) -> str:
    return f"{draft(topic).result()}: {interrupt('ok?')}"


config = {"configurable": {"thread_id": "1"}}
write.invoke("bees", config)
write.invoke(Command(resume="yes"), config)
start = next(snapshot for snapshot in write.get_state_history(config) if snapshot.next)
again = write.invoke(None, start.config)
end = write.invoke(Command(resume="no"), config)
seen = [[question.value for question in again["__interrupt__"]], end, calls]
expected = [["ok?"], "about bees: no", ["bees", "bees"]]
