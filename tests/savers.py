"""Checkpointers for tests, made from text, so that another process can make one on the same place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.memory import InMemorySaver
from durably.checkpoint.postgres import PostgresSaver
from durably.checkpoint.sqlite import SqliteSaver
from postgres_server import Place

# On the Pythons that only run what depends on the version, a server's tests are those of the conformance suite.
SHARED = ["sqlite"] if os.environ.get("HYPOTHESIS_PROFILE") == "brief" else ["sqlite", "postgres"]
"""The databases that processes can share."""
BACKENDS = ["memory", *SHARED]


def place_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Somewhere empty, in a few words: for `open_saver`."""
    if kind == "postgres":
        place: Place = request.getfixturevalue("postgres")
        with PostgresSaver(place.conninfo, schema=place.schema) as saver:
            saver.setup()
        return f"postgres {place.schema} {place.conninfo}"
    return ":memory:" if kind == "memory" else str(folder / "runs.db")


def open_saver(place: str | Path, **options: Any) -> BaseCheckpointer:
    """A checkpointer on a place."""
    kind, _, rest = str(place).partition(" ")
    if kind == "postgres":
        schema, _, conninfo = rest.partition(" ")
        return PostgresSaver(conninfo, schema=schema, **options)
    return InMemorySaver(**options) if kind == ":memory:" else SqliteSaver(place, **options)
