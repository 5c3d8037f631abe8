"""Whether a failed call is tried again, and when. Decides only; the waiting is done elsewhere."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from ..errors import NodeTimeoutError, UsageError
from ..types import RetryPolicy

__all__ = ["default_retry_on", "seconds_before_retry"]

PROGRAMMING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    ReferenceError,
    RuntimeError,
    StopAsyncIteration,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
    UsageError,
)
"""Trying again would fail again: the program has to change."""


def default_retry_on(error: Exception) -> bool:
    """Whether another attempt may succeed where this one failed.

    Connection errors, timeouts, and server errors (status 5xx) of any HTTP client that carries a status on the error or
    its response; then everything unknown. Programming errors, client errors (4xx) and missing files are not tried again.

    >>> default_retry_on(ConnectionResetError()), default_retry_on(KeyError("x")), default_retry_on(FileNotFoundError())
    (True, False, False)
    """
    if isinstance(error, (ConnectionError, NodeTimeoutError)):
        return True
    status = _status(error)
    if status is not None:
        return 500 <= status < 600
    if isinstance(error, OSError):
        return not isinstance(
            error,
            (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError),
        )
    return not isinstance(error, PROGRAMMING_ERRORS)


def _status(error: Exception) -> int | None:
    """The HTTP status that an error carries, as httpx, requests, aiohttp, urllib and the model SDKs put it."""
    for holder in (getattr(error, "response", None), error):
        for name in ("status_code", "status", "code"):
            status: Any = getattr(holder, name, None)
            if type(status) is int and 100 <= status < 600:
                return status
    return None


def seconds_before_retry(policies: Iterable[RetryPolicy], error: Exception, attempt: int) -> float | None:
    """How long to wait before the next attempt.

    Args:
        policies: the first one that matches the error decides.
        error: what the last attempt raised.
        attempt: its number, from 1.

    Returns:
        Seconds, or None when there is to be no further attempt.

    >>> policy = RetryPolicy(initial_interval=1, backoff_factor=3, max_interval=5, jitter=False)
    >>> [seconds_before_retry([policy], ConnectionError(), n) for n in (1, 2, 3)]
    [1.0, 3.0, None]
    """
    for policy in policies:
        if _matches(policy, error):
            return _interval(policy, attempt) if attempt < policy.max_attempts else None
    return None


def _matches(policy: RetryPolicy, error: Exception) -> bool:
    condition = policy.retry_on
    if condition is None:
        return default_retry_on(error)
    if isinstance(condition, type):
        return isinstance(error, condition)
    if callable(condition):
        return bool(condition(error))
    return isinstance(error, tuple(condition))


def _interval(policy: RetryPolicy, attempt: int) -> float:
    try:
        grown = policy.initial_interval * policy.backoff_factor ** (attempt - 1)
    except OverflowError:
        grown = policy.max_interval
    interval = min(policy.max_interval, grown)
    return interval * random.uniform(1.0, 1.5) if policy.jitter else float(interval)
