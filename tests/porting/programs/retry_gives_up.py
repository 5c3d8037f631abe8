"""When the attempts are used up, or the error is not one to retry, the task's own exception comes out."""

from langgraph.func import entrypoint, task
from langgraph.types import RetryPolicy

tries = []


@task(retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False))
def fetch(error: Exception) -> None:
    tries.append(type(error).__name__)
    raise error


@entrypoint()
def load(error: Exception) -> str:
    try:
        fetch(error).result()
    except (ConnectionError, ValueError) as caught:
        return str(caught)
    return "no error"


seen = [load.invoke(ConnectionError("down")), load.invoke(ValueError("wrong")), tries]
expected = ["down", "wrong", ["ConnectionError", "ConnectionError", "ValueError"]]
