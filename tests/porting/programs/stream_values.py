"""What the workflow returns, and a question in its place."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.types import Command, interrupt


@entrypoint(checkpointer=InMemorySaver())
def ask(x: int) -> int:
    return x + interrupt("how many more?")


config = {"configurable": {"thread_id": "1"}}
asked = list(ask.stream(1, config, stream_mode="values"))
seen = [[question.value for question in asked[-1]["__interrupt__"]]]
seen += ask.stream(Command(resume=2), config, stream_mode="values")
expected = [["how many more?"], None, 3]
