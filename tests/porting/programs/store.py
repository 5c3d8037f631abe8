"""A store is injected and shared by all threads."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore


@entrypoint(checkpointer=InMemorySaver(), store=InMemoryStore())
def visit(name: str, *, store: BaseStore) -> list:
    store.put(("visitors",), name, {"name": name})
    return sorted(item.key for item in store.search(("visitors",)))


seen = [
    visit.invoke("ann", {"configurable": {"thread_id": "1"}}),
    visit.invoke("bob", {"configurable": {"thread_id": "2"}}),
]
expected = [["ann"], ["ann", "bob"]]
