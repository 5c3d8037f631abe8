"""What the type checkers say about sleeping. Read by mypy and pyright; never run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

from durably import sleep, sleep_until
from durably.engine.call import TaskFuture

assert_type(sleep(1), TaskFuture[None])
assert_type(sleep(timedelta(days=1)), TaskFuture[None])
assert_type(sleep_until(datetime.now(UTC)), TaskFuture[None])

sleep("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sleep_until(1.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
