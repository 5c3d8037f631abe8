"""Chunks of the program's own, by an injected writer and by `get_stream_writer`."""

from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.types import StreamWriter


@task
def count(n: int, *, writer: StreamWriter) -> int:
    for number in range(n):
        writer({"number": number})
    return n


@entrypoint()
def counting(n: int) -> str:
    get_stream_writer()("begin")
    return f"counted to {count(n).result()}"


seen = list(counting.stream(2, stream_mode="custom"))
expected = ["begin", {"number": 0}, {"number": 1}]
