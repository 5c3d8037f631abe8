"""Starts and ends of tasks, and what debug makes of them."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt


@task
def double(x: int, *, plus: int = 0) -> int:
    return 2 * x + plus


@entrypoint(checkpointer=InMemorySaver())
def asking(x: int) -> list[int]:
    return [double(double(x).result(), plus=1).result(), interrupt("more?")]


def without_ids(chunk: dict) -> dict:
    assert chunk.pop("id")
    for question in chunk.get("interrupts", ()):
        assert question.pop("id")
    return chunk


config = {"configurable": {"thread_id": "1"}}
seen = [without_ids(chunk) for chunk in asking.stream(1, config, stream_mode="tasks")]
seen += [without_ids(chunk) for chunk in asking.stream(Command(resume=3), config, stream_mode="tasks")]
seen += [(chunk["step"], chunk["type"]) for chunk in asking.stream(2, config, stream_mode="debug")]
for chunk in asking.stream(Command(resume=3), config, stream_mode="checkpoints"):
    seen.append(
        (chunk["next"], [entry["name"] for entry in chunk["tasks"]], chunk["values"], chunk["metadata"]["step"])
    )
asked = {"value": "more?", "response_schema": None}
expected = [
    {"name": "asking", "input": 1, "triggers": ("__start__",)},
    {"name": "double", "input": ((1,), {}), "triggers": ("__pregel_push",)},
    {"name": "double", "error": None, "result": {"__return__": 2}, "interrupts": []},
    {"name": "double", "input": ((2,), {"plus": 1}), "triggers": ("__pregel_push",)},
    {"name": "double", "error": None, "result": {"__return__": 5}, "interrupts": []},
    {"name": "asking", "error": None, "result": {}, "interrupts": [asked]},
    {"name": "asking", "input": 1, "triggers": ("__start__",)},
    {"name": "double", "input": ((1,), {}), "triggers": ("__pregel_push",)},
    {"name": "double", "input": ((2,), {"plus": 1}), "triggers": ("__pregel_push",)},
    {"name": "asking", "error": None, "result": {"__end__": [5, 3]}, "interrupts": []},
    (1, "checkpoint"),
    (2, "task"),
    (2, "task"),
    (2, "task_result"),
    (2, "task"),
    (2, "task_result"),
    (2, "task_result"),
    (["asking"], ["asking"], [5, 3], 1),
    ([], [], [9, 3], 2),
]
