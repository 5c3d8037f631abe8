"""A question stops the run; the answer goes on, and finished tasks do not run again."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

calls = []


@task
def write(topic: str) -> str:
    calls.append(topic)
    return f"an essay about {topic}"


@entrypoint(checkpointer=InMemorySaver())
def review(topic: str) -> dict:
    essay = write(topic).result()
    return {"essay": essay, "approved": interrupt({"essay": essay, "action": "approve?"})}


config = {"configurable": {"thread_id": "1"}}
asked = review.invoke("cats", config)
seen = [asked["__interrupt__"][0].value, review.invoke(Command(resume=True), config), calls]
expected = [
    {"essay": "an essay about cats", "action": "approve?"},
    {"essay": "an essay about cats", "approved": True},
    ["cats"],
]
