"""A workflow with a checkpointer, invoked without a thread."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint


@entrypoint(checkpointer=InMemorySaver())
def double(x: int) -> int:
    return 2 * x


try:
    seen = double.invoke(2)
except ValueError:
    seen = "refused"
expected = "refused"
