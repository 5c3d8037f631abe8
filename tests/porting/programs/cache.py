"""A cached task's result is shared by runs."""

from langgraph.cache.memory import InMemoryCache
from langgraph.func import entrypoint, task
from langgraph.types import CachePolicy

calls = []


@task(cache_policy=CachePolicy(ttl=120))
def square(x: int) -> int:
    calls.append(x)
    return x * x


@entrypoint(cache=InMemoryCache())
def both(x: int) -> list:
    return [square(x).result(), square(x).result()]


seen = [both.invoke(3), both.invoke(3), calls]
expected = [[9, 9], [9, 9], [3]]
