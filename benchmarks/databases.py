"""The PostgreSQL server of a run: one for all measurements, and an empty database for each."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Self

from .systems import SERVER


class Databases:
    """Gives out empty databases, on a server that is started for the first of them.

    Args:
        python: finds the Python of the server's environment.
    """

    def __init__(self, python: Callable[[], str]) -> None:
        self._python = python
        self._server: subprocess.Popen[str] | None = None

    def empty(self) -> str:
        """How to connect to an empty database; the one that was given out before is dropped."""
        if self._server is None:
            command = [self._python(), str(SERVER.path)]
            self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write("next\n")
        self._server.stdin.flush()
        url = self._server.stdout.readline().strip()
        if not url:
            raise RuntimeError("the PostgreSQL server of the benchmark did not start, or has died")
        return url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and remove what it wrote."""
        if self._server is not None:
            self._server.communicate()
