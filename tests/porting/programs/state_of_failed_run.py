"""The state of a thread whose run has failed."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint


@entrypoint(checkpointer=InMemorySaver())
def work(_: str) -> str:
    raise ValueError("no")


config = {"configurable": {"thread_id": "1"}}
try:
    work.invoke("", config)
except ValueError:
    pass
state = work.get_state(config)
seen = [state.next, [pending.name for pending in state.tasks], state.values]
expected = {"langgraph": [("work",), ["work"], None], "durably": [("work",), ["work"], {}]}
