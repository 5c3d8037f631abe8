"""A task can see which attempt it is."""

from langgraph.func import entrypoint, task
from langgraph.runtime import get_runtime
from langgraph.types import RetryPolicy

attempts = []


@task(retry_policy=RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False))
def fetch() -> int:
    attempts.append(get_runtime().execution_info.node_attempt)
    if len(attempts) < 3:
        raise ConnectionError("not yet")
    return len(attempts)


@entrypoint()
def load(_: str) -> int:
    return fetch().result()


seen = [load.invoke(""), attempts]
expected = [3, [1, 2, 3]]
