"""Questions one after the other, in a loop until the answer will do."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.types import Command, interrupt


@entrypoint(checkpointer=InMemorySaver())
def age(_: str) -> int:
    question = "How old?"
    while not isinstance(answer := interrupt(question), int):
        question = f"{answer!r} is no number. How old?"
    return answer


config = {"configurable": {"thread_id": "1"}}
seen = [
    age.invoke("", config)["__interrupt__"][0].value,
    age.invoke(Command(resume="old"), config)["__interrupt__"][0].value,
    age.invoke(Command(resume=44), config),
]
expected = ["How old?", "'old' is no number. How old?", 44]
