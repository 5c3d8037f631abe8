"""What a thread's state says while a question is open, and after its end."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt


@task
def draft(topic: str) -> str:
    return f"about {topic}"


@entrypoint(checkpointer=InMemorySaver())
def write(topic: str) -> str:
    return f"{draft(topic).result()}: {interrupt('ok?')}"


config = {"configurable": {"thread_id": "1"}}
write.invoke("bees", config)
asked = write.get_state(config)
write.invoke(Command(resume="yes"), config)
ended = write.get_state(config)
seen = [asked.next, [question.value for question in asked.interrupts], ended.values, ended.next]
expected = [("write",), ["ok?"], "about bees: yes", ()]
