"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from postgres_server import Place, Server

# A test never asserts a time, so Hypothesis has no deadline either. Its examples are the same on every run,
# so that a failure is nobody else's surprise; HYPOTHESIS_PROFILE=search looks for new ones, and longer.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("brief", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("search", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL for all tests of this session, started when the first one asks; nobody stops it in between."""
    with Server() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Server) -> Place:
    """An empty place in it for one test."""
    return postgres_server.place()
