"""A scripted model behind an OpenAI-compatible endpoint, and the programs in examples/ that are run against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

PATIENCE = 60.0
"""Seconds after which something that should happen has not."""


@dataclass
class StandIn:
    """A model that answers by a script, and notes what it was asked.

    Args:
        url: where it is served.
        requests: all that it was asked.
        failures: the status codes of the next answers.
        held: words; an answer to a prompt with one of them waits until `released`.
    """

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)

    def wait_until_asked(self, times: int) -> None:
        """Wait until so many requests have come in: a program says that it asks before it does."""
        end = time.monotonic() + PATIENCE
        while len(self.requests) < times:
            assert time.monotonic() < end, f"it was asked {len(self.requests)} times"
            time.sleep(0.005)

    def answer(self, messages: list[dict[str, str]]) -> str:
        """What it says next."""
        raise NotImplementedError


Model = TypeVar("Model", bound=StandIn)


@contextmanager
def serving(stand_in: Model) -> Iterator[Model]:
    """Serve the model on this machine for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stand_in.requests.append(request | {"authorization": self.headers["Authorization"]})
            if stand_in.failures:
                self.send_error(stand_in.failures.pop(0))
                return
            self.send_response(200)
            self.end_headers()
            prompt = request["messages"][-1]["content"]
            if any(word in prompt for word in stand_in.held):
                stand_in.released.wait(PATIENCE)
            for word in stand_in.answer(request["messages"]).split(" "):
                self._say(word + " ")
            self.wfile.write(b"data: [DONE]\n\n")

        def _say(self, content: str) -> None:
            event = {"choices": [{"delta": {"content": content}}]}
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that was killed

    server = Server(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield stand_in
    finally:
        stand_in.released.set()
        server.shutdown()
        server.server_close()


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONIOENCODING": "utf-8",
        "OPENAI_API_KEY": "a-key",
    }


def run_program(folder: Path, command: Sequence[str], answers: str = "") -> subprocess.CompletedProcess[str]:
    """Run an example, given as its file name and arguments, to its end."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / command[0]), *command[1:]],
        cwd=folder,
        env=environment(),
        input=answers,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )


@contextmanager
def start_program(folder: Path, command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Start an example; at the end of the block it is killed."""
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / command[0]), *command[1:]],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], enough: Callable[[str], bool]) -> str:
    """What a program prints, until there is enough of it."""
    out = process.stdout
    assert out is not None
    deadline = threading.Timer(PATIENCE, process.kill)
    deadline.start()
    seen = ""
    while not enough(seen):
        letter = out.read(1)
        assert letter, f"it ended after {seen!r}"
        seen += letter
    deadline.cancel()
    return seen
