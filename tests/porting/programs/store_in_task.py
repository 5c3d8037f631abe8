"""A task reaches the store without a parameter."""

from langgraph.config import get_store
from langgraph.func import entrypoint, task
from langgraph.store.memory import InMemoryStore


@task
def remember(key: str) -> dict:
    get_store().put(("notes",), key, {"text": key.upper()})
    return get_store().get(("notes",), key).value


@entrypoint(store=InMemoryStore())
def note(key: str) -> dict:
    return remember(key).result()


seen = note.invoke("tea")
expected = {"text": "TEA"}
