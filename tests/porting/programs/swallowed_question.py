"""`except Exception` around a question."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.types import interrupt


@entrypoint(checkpointer=InMemorySaver())
def careful(_: str) -> str:
    try:
        return interrupt("sure?")
    except Exception:
        return "swallowed"


asked = careful.invoke("", {"configurable": {"thread_id": "1"}})
seen = asked if isinstance(asked, str) else [question.value for question in asked["__interrupt__"]]
expected = {"langgraph": "swallowed", "durably": ["sure?"]}
