"""What the tests of threads share: a database of each kind, and both colours of every method."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from worker import Shop

from durably import Workflow
from durably.checkpoint.base import BaseCheckpointer
from savers import BACKENDS, SHARED, open_saver, place_of

Do = Callable[..., Any]


@pytest.fixture(params=BACKENDS)
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCheckpointer]:
    """Empty storage."""
    with open_saver(place_of(request.param, request, tmp_path)) as checkpointer:
        yield checkpointer


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest) -> Do:
    """Calls a method of a workflow, or its async twin; an iterator comes as a list."""
    return do_blocking if request.param == "sync" else do_awaiting


def do_blocking(workflow: Workflow[Any, Any], name: str, *args: Any, **kwargs: Any) -> Any:
    result = getattr(workflow, name)(*args, **kwargs)
    return list(result) if isinstance(result, Iterator) else result


def do_awaiting(workflow: Workflow[Any, Any], name: str, *args: Any, **kwargs: Any) -> Any:
    async def call() -> Any:
        result = getattr(workflow, f"a{name}")(*args, **kwargs)
        return [item async for item in result] if hasattr(result, "__aiter__") else await result

    return asyncio.run(call())


@pytest.fixture(params=SHARED)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A database and a ledger that several processes share."""
    shop = Shop(tmp_path, place_of(request.param, request, tmp_path))
    yield shop
    shop.saver.close()
