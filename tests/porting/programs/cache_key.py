"""A cache policy with a key of its own, and a cleared cache."""

from langgraph.cache.memory import InMemoryCache
from langgraph.func import entrypoint, task
from langgraph.types import CachePolicy

calls = []
cache = InMemoryCache()


@task(cache_policy=CachePolicy(key_func=lambda user, note: user))
def greet(user: str, note: str) -> str:
    calls.append(note)
    return f"{user}, {note}"


@entrypoint(cache=cache)
def hello(note: str) -> str:
    return greet("ada", note).result()


seen = [hello.invoke("one"), hello.invoke("two")]
greet.clear_cache(cache)
seen += [hello.invoke("three"), calls]
expected = ["ada, one", "ada, one", "ada, three", ["one", "three"]]
