"""What decorators are given, checked. Each function raises `DeclarationError` where it cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from .cache.base import BaseCache
from .checkpoint.base import BaseCheckpointer
from .errors import DeclarationError
from .types import CachePolicy, RetryPolicy, TimeoutPolicy

__all__ = [
    "Retry",
    "Timeout",
    "cache_backend",
    "cache_policy_of",
    "checked_name",
    "checkpointer_of",
    "chosen",
    "retry_policies",
    "timeout_policy",
    "worker_count",
]

Timeout = float | timedelta | TimeoutPolicy | None
Retry = RetryPolicy | Sequence[RetryPolicy] | None
"""One policy, or several of which the first that matches an error decides."""


def checked_name(name: str | None) -> str | None:
    """A name."""
    if name is not None and (not isinstance(name, str) or not name):
        raise DeclarationError(f"name={name!r}: give a string that is not empty")
    return name


def retry_policies(retry: Retry) -> tuple[RetryPolicy, ...]:
    """One policy, or several, as several."""
    policies: tuple[Any, ...] = () if retry is None else tuple(retry) if isinstance(retry, (list, tuple)) else (retry,)
    for policy in policies:
        if not isinstance(policy, RetryPolicy):
            raise DeclarationError(f"retry_policy={policy!r}: give a RetryPolicy, or a list of them")
    return policies


def cache_policy_of(policy: CachePolicy | None) -> CachePolicy | None:
    """A cache policy."""
    if policy is not None and not isinstance(policy, CachePolicy):
        raise DeclarationError(f"cache_policy={policy!r}: give a CachePolicy")
    return policy


def timeout_policy(timeout: Timeout) -> TimeoutPolicy | None:
    """A time span as a policy."""
    if timeout is None or isinstance(timeout, TimeoutPolicy):
        return timeout
    return TimeoutPolicy(run_timeout=timeout)


def worker_count(count: int | None) -> int | None:
    """A number of bodies."""
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise DeclarationError(f"max_workers={count!r}: give a whole number, at least 1, or None")
    return count


def chosen(what: str, value: str, choices: Sequence[str]) -> str:
    """One of several words."""
    if value not in choices:
        raise DeclarationError(f"{what}={value!r}: give one of {', '.join(map(repr, choices))}")
    return value


def checkpointer_of(checkpointer: Any) -> BaseCheckpointer | bool | None:
    """A checkpointer."""
    if checkpointer is None or isinstance(checkpointer, (bool, BaseCheckpointer)):
        return checkpointer
    hint = (
        ". It is what from_conn_string() returned, which is a context manager: use `with ... as checkpointer:`"
        if hasattr(checkpointer, "__enter__")
        else ""
    )
    raise DeclarationError(
        f"checkpointer={checkpointer!r} is no checkpointer: give InMemorySaver(), SqliteSaver(path), or None{hint}"
    )


def cache_backend(cache: Any) -> BaseCache | None:
    """A cache."""
    if cache is not None and not isinstance(cache, BaseCache):
        raise DeclarationError(f"cache={cache!r} is no cache: give InMemoryCache(), SqliteCache(path), or None")
    return cache
