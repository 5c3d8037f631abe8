"""A second run on a thread whose first run is under way."""

import threading

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint

started, go_on = threading.Event(), threading.Event()


@entrypoint(checkpointer=InMemorySaver())
def collect(item: str, *, previous: list | None = None) -> list:
    if item == "slow":
        started.set()
        go_on.wait(timeout=30)
    return [*(previous or []), item]


config = {"configurable": {"thread_id": "1"}}
slow = threading.Thread(target=collect.invoke, args=("slow", config))
slow.start()
started.wait(timeout=30)
try:
    seen = [collect.invoke("quick", config)]
except Exception as error:
    seen = [type(error).__name__]
go_on.set()
slow.join()
seen.append(collect.invoke("last", config))
expected = {  # there a run is lost
    "langgraph": [["quick"], ["slow", "last"]],
    "durably": ["ThreadBusy", ["slow", "last"]],
}
