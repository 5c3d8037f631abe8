"""What holds for every test."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, settings

from durably.testing import always_replay
from postgres_server import Place, Server

# A test never asserts a time, so Hypothesis has no deadline either. Its examples are the same on every run,
# so that a failure is nobody else's surprise; HYPOTHESIS_PROFILE=search looks for new ones, and longer.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("brief", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("search", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--always-replay",
        action="store_true",
        help="stop every run after each call it records, and replay it from what is stored",
    )
    parser.addoption("--wide", action="store_true", help="also what fails or kills at every place, at length")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "once(reason): cannot be replayed by its nature; left out under --always-replay")
    config.addinivalue_line("markers", "wide: a long form of another test; only under --wide")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wide = [] if config.getoption("--wide") else [item for item in items if item.get_closest_marker("wide")]
    if wide:
        config.hook.pytest_deselected(items=wide)
        items[:] = [item for item in items if item not in wide]
    for item in items:
        mark = item.get_closest_marker("once")
        if mark is not None and config.getoption("--always-replay"):
            item.add_marker(pytest.mark.skip(reason=f"not under --always-replay: {mark.args[0]}"))


def pytest_collection_finish() -> None:
    """What collecting made stays to the end: no garbage collection need walk through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def replays(request: pytest.FixtureRequest) -> Iterator[None]:
    """Under ``--always-replay``, every run of every test."""
    with always_replay() if request.config.getoption("--always-replay") else nullcontext():
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL for all tests of this session, started when the first one asks; nobody stops it in between."""
    with Server() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Server) -> Place:
    """An empty place in it for one test."""
    return postgres_server.place()
