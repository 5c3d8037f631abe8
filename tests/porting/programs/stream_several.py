"""Several modes at once: chunks come with their mode."""

from langgraph.func import entrypoint, task
from langgraph.types import StreamWriter


@task
def count(n: int) -> int:
    return n


@entrypoint()
def counting(n: int, *, writer: StreamWriter) -> int:
    writer("begin")
    return count(n).result()


seen = list(counting.stream(2, stream_mode=["custom", "updates", "values"]))
expected = [("custom", "begin"), ("updates", {"count": 2}), ("updates", {"counting": 2}), ("values", 2)]
