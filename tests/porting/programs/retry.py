"""A task with a retry policy is tried again."""

from langgraph.func import entrypoint, task
from langgraph.types import RetryPolicy

tries = []


@task(retry_policy=RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False, retry_on=ConnectionError))
def fetch(name: str) -> str:
    tries.append(name)
    if len(tries) < 3:
        raise ConnectionError("not yet")
    return f"{name} after {len(tries)}"


@entrypoint()
def load(name: str) -> str:
    return fetch(name).result()


seen = load.invoke("page")
expected = "page after 3"
