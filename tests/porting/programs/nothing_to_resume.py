"""None as an input where there is nothing to resume."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint


@entrypoint(checkpointer=InMemorySaver())
def double(x: int) -> int:
    return 2 * x


config = {"configurable": {"thread_id": "1"}}
seen = []
for value in (None, 2, None):
    try:
        seen.append(double.invoke(value, config))
    except Exception as error:
        seen.append(type(error).__name__)
expected = {"langgraph": ["EmptyInputError", 4, 4], "durably": ["EmptyInputError", 4, "EmptyInputError"]}
