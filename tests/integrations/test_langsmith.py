"""LangSmith, as a server on this machine that keeps what it is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

INFO = {
    "version": "0",
    "batch_ingest_config": {
        "use_multipart_endpoint": False,
        "size_limit": 100,
        "size_limit_bytes": 1_000_000,
        "scale_up_nthreads_limit": 1,
        "scale_up_qsize_trigger": 1000,
        "scale_down_nempty_trigger": 4,
    },
}


class Receiver:
    """Speaks as much of LangSmith's protocol as its client needs."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(INFO)

            def do_POST(self) -> None:
                receiver.keep(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer({})

            def _answer(self, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def keep(self, batch: dict[str, list[dict[str, Any]]]) -> None:
        """A run is sent when it begins, and again with what is known when it ends."""
        with self._lock:
            for part in [*batch.get("post", ()), *batch.get("patch", ())]:
                known = {name: value for name, value in part.items() if value is not None}
                self.runs.setdefault(part["id"], {}).update(known)

    def children(self, parent: str | None) -> list[dict[str, Any]]:
        found = [run for run in self.runs.values() if run.get("parent_run_id") == parent]
        return sorted(found, key=lambda run: run["dotted_order"])

    def tree(self, parent: str | None = None) -> list[Any]:
        return [
            (run["name"], children) if (children := self.tree(run["id"])) else run["name"]
            for run in self.children(parent)
        ]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


PROGRAM = """
import asyncio
from langchain_core.tracers.langchain import wait_for_all_tracers
from langsmith import traceable

from durably import InMemorySaver, entrypoint, interrupt, task, Command
from models import speaking


@traceable
def looked_up(word):
    return word + "?"


@task
def ask(question):
    return speaking("hello").invoke(looked_up(question)).content


@task
async def aask(question):
    return (await speaking("hello").ainvoke(question)).content


@task
def failing():
    raise ValueError("broken")


@entrypoint()
async def inner(question):
    return await asyncio.gather(aask(question), aask(question))


@entrypoint(checkpointer=InMemorySaver())
async def outer(question):
    answers = [await ask(question), *await inner.ainvoke(question)]
    try:
        await failing()
    except ValueError:
        pass
    interrupt("go on?")
    return answers


config = {"configurable": {"thread_id": "7"}, "metadata": {"user": "Ada"}, "tags": ["nightly"]}
asyncio.run(outer.ainvoke("hi", config))
assert asyncio.run(outer.ainvoke(Command(resume="yes"), config)) == ["hello"] * 3
wait_for_all_tracers()
"""


def test_langsmith_shows_workflow_task_and_model(receiver: Receiver) -> None:
    here = str(Path(__file__).parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_ENDPOINT": receiver.url,
        "LANGSMITH_API_KEY": "none",
    }
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, timeout=60)
    models = ("aask", ["Named"])
    assert receiver.tree() == [
        ("outer", [("ask", ["looked_up", "Named"]), ("inner", [models, models]), "failing"]),
        "outer",
    ]
    asked, answered = receiver.children(None)
    assert asked["inputs"] == {"input": "hi"}
    assert asked["outputs"] == {"__interrupt__": ["go on?"]}
    assert answered["outputs"] == {"output": ["hello"] * 3}
    assert len({run["trace_id"] for run in receiver.runs.values()}) == 2
    ask, inner, failing = receiver.children(asked["id"])
    assert (ask["inputs"], ask["outputs"]) == ({"question": "hi"}, {"output": "hello"})
    assert "ValueError('broken')" in failing["error"]
    assert inner["outputs"] == {"output": ["hello", "hello"]}
    for run in receiver.runs.values():
        if run["name"] != "looked_up":  # LangSmith's own, which takes over neither
            assert run["tags"] == ["nightly"]
            known = {"user": "Ada", "thread_id": "7"}
            assert run["extra"]["metadata"] | known == run["extra"]["metadata"]
