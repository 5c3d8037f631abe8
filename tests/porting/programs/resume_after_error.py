"""After an error, `invoke(None)` goes on: finished tasks are reused, the failed one runs again."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task

calls = []


@task
def slow() -> str:
    calls.append("slow")
    return "slow"


@task
def shaky() -> str:
    calls.append("shaky")
    if calls.count("shaky") == 1:
        raise ValueError("a bad day")
    return "shaky"


@entrypoint(checkpointer=InMemorySaver())
def work(_: dict) -> str:
    first = slow().result()
    return f"{first} {shaky().result()}"


config = {"configurable": {"thread_id": "1"}}
try:
    work.invoke({"any": "input"}, config)
except ValueError as error:
    seen = [str(error)]
seen += [work.invoke(None, config), calls]
expected = ["a bad day", "slow shaky", ["slow", "shaky", "shaky"]]
