"""State in a SQLite file outlives its connection."""

import tempfile
from pathlib import Path

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

calls = []


@task
def draft(topic: str) -> str:
    calls.append(topic)
    return f"about {topic}"


def workflow(saver):
    @entrypoint(checkpointer=saver)
    def write(topic: str) -> str:
        return f"{draft(topic).result()}: {interrupt('ok?')}"

    return write


config = {"configurable": {"thread_id": "1"}}
with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder) / "state.db")
    with SqliteSaver.from_conn_string(path) as saver:
        workflow(saver).invoke("bees", config)
    with SqliteSaver.from_conn_string(path) as saver:
        seen = [workflow(saver).invoke(Command(resume="yes"), config), calls]
expected = ["about bees: yes", ["bees"]]
