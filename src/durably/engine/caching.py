"""Results shared across runs: look, compute once per process, keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from hashlib import blake2b
from logging import getLogger
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..cache.base import BaseCache
from ..cache.flight import Lead, SingleFlight
from ..errors import ConfigError, StorageError
from ..types import CachePolicy
from .function import Function
from .steps import Do, Steps

if TYPE_CHECKING:
    from .call import TaskFuture

__all__ = ["namespace_of", "through"]

logger = getLogger("durably")

_flights: WeakKeyDictionary[BaseCache, SingleFlight] = WeakKeyDictionary()
_flights_lock = Lock()


def namespace_of(function: Function) -> str:
    """Where a task's results are kept: its identity, which is its module, its qualified name and its own name."""
    call = function.call
    module = getattr(call, "__module__", "") or ""
    return f"{module}:{getattr(call, '__qualname__', '')}:{function.name}"


def through(
    call: TaskFuture[Any],
    cache: BaseCache,
    policy: CachePolicy,
    execute: Callable[[TaskFuture[Any]], Steps[Any]],
) -> Steps[Any]:
    """The cached result of a call, or that of ``execute``, which is then kept."""
    namespace = namespace_of(call.function)
    key = _key(call, policy)
    look = Do(partial(cache.get, namespace, key), inline=cache.inline)
    serde, place = call.run.recorder.serde, b"cache\0" + namespace.encode()
    found = yield from _unless_away(look, call)
    while found is None:
        landing = _flight(cache).begin(namespace, key)
        if isinstance(landing, Lead):
            with landing:
                found = yield from _unless_away(look, call)  # an earlier lead may have landed since
                if found is None:
                    value = yield from execute(call)
                    data = serde.dumps(value, place)
                    keep = partial(cache.set, namespace, key, data, policy.ttl)
                    yield from _unless_away(Do(keep, inline=cache.inline and not cache.waits_to_set), call)
                    landing.finish(data)
                    return value
        else:
            found = yield _Landing(call, landing)
    call.begin_attempt()
    call.cached = True
    return serde.loads(found, place)


def _unless_away(step: Do[Any], call: TaskFuture[Any]) -> Steps[Any]:
    """What the cache says, None where it cannot be reached: a result is worth more than the place it is kept in."""
    try:
        return (yield step)
    except StorageError as error:
        logger.warning("%s goes on without the cache: %s", call.describe(), error)
        return None


def _flight(cache: BaseCache) -> SingleFlight:
    with _flights_lock:
        return _flights.setdefault(cache, SingleFlight())


def _key(call: TaskFuture[Any], policy: CachePolicy) -> bytes:
    function = call.function
    if policy.key_func is None:
        return call.run.recorder.serde.cache_key(function.parameters.bound(call.args, call.kwargs))
    key = policy.key_func(*call.args, **call.kwargs)
    if isinstance(key, str):
        key = key.encode("utf-8", "surrogatepass")
    if not isinstance(key, bytes):
        raise ConfigError(
            f"the key_func of task {function.name!r} returned {type(key).__name__}: a cache key is a string or bytes"
        )
    return blake2b(key, digest_size=32).digest()


class _Landing:
    """Wait for whoever computes the same key."""

    __slots__ = ("call", "future")

    def __init__(self, call: TaskFuture[Any], future: Future[bytes | None]) -> None:
        self.call = call
        self.future = future

    def block(self) -> bytes | None:
        """Sleep until it has landed."""
        with self.call.run.scheduler.resting(self.call):
            return self.future.result()

    async def wait(self) -> bytes | None:
        """Let the loop run until it has landed."""
        with self.call.run.scheduler.resting(self.call):
            return await asyncio.wrap_future(self.future)
