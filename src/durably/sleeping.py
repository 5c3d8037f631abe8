"""Sleep that a crash does not prolong: when it ends is recorded as it begins."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from .context import here
from .engine.call import TaskFuture
from .engine.function import Function
from .engine.scope import Scope
from .engine.steps import adrive, clock
from .errors import ConfigError

__all__ = ["sleep", "sleep_until"]


def sleep(duration: timedelta | float) -> TaskFuture[None]:
    """Let some time go by in a run; after a restart only what is left of it.

    When the sleep ends is decided, and recorded, when it begins. It holds no thread and no slot of a limit.

    Args:
        duration: a `timedelta`, or a number of seconds; nothing is waited for where it is not positive.

    Returns:
        The sleep as a call: ask with ``.result()`` or ``await``. `wait` and `as_completed` take it, too.

    Raises:
        ConfigError: that is no duration.
        OutsideRunError: no run is under way here.

    >>> from datetime import timedelta
    >>> from durably import entrypoint
    >>> from durably.testing import virtual_clock
    >>> @entrypoint()
    ... def remind(name: str) -> str:
    ...     sleep(timedelta(days=3)).result()
    ...     return f"Dear {name}, three days have passed"
    >>> with virtual_clock():
    ...     remind.invoke("Ada")
    'Dear Ada, three days have passed'
    """
    return _asleep("sleep", duration, clock().now() + _seconds(duration))


def sleep_until(moment: datetime) -> TaskFuture[None]:
    """Let time go by in a run until a moment comes.

    The moment that counts is that of the first attempt, which is recorded when the sleep begins.

    Args:
        moment: with a time zone; nothing is waited for where it has passed.

    Returns:
        As for `sleep`.

    Raises:
        ConfigError: that is no moment, or one without a time zone.
        OutsideRunError: no run is under way here.

    >>> from datetime import datetime, timezone
    >>> from durably import entrypoint
    >>> @entrypoint()
    ... def publish(moment: datetime) -> str:
    ...     sleep_until(moment).result()
    ...     return "published"
    >>> publish.invoke(datetime(2024, 1, 1, tzinfo=timezone.utc))
    'published'
    """
    if not isinstance(moment, datetime):
        raise ConfigError(f"sleep_until({moment!r}): give a datetime; for a duration there is sleep()")
    if moment.utcoffset() is None:
        raise ConfigError(
            f"sleep_until({moment!r}): a datetime without a time zone is another moment on another machine. Give it one, "
            "such as datetime.now(timezone.utc) has"
        )
    return _asleep("sleep_until", moment, moment.timestamp())


def _seconds(duration: Any) -> float:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, (int, float)) or not math.isfinite(duration):
        raise ConfigError(f"sleep({duration!r}): give a timedelta, or a finite number of seconds")
    return float(duration)


def _asleep(name: str, wanted: timedelta | datetime | float, due: float) -> TaskFuture[None]:
    """The call. It is async whoever makes it, so that a thousand of them take no thousand threads."""
    place = here(f"{name}()")
    assert isinstance(place, Scope)

    async def body(wanted: Any) -> None:
        scope = here(f"{name}()")
        assert isinstance(scope, Scope)
        await _until(scope, due)

    function = Function(body, name, True, is_passive=True, waits_for_time=True, is_own=False)
    return place.body.run.call(place, function, (wanted,), {})


async def _until(scope: Scope, due: float) -> None:
    """Sleep in the body of the call, whose end an earlier attempt may have decided."""
    run = scope.body.run
    mark = run.mark(scope, "due", keeps=scope.body.keeps)
    if mark.decided:
        due = mark.value()
    else:
        mark.decide(due)
        if run.durability == "sync":
            await adrive(run.recorder.flush())
    await run.naps.until(scope.body, due)
