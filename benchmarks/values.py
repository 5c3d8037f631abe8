"""What values cost: encoding and decoding beside bare msgspec, and the peak memory of a large result.

    python -m benchmarks.values

The library has to be installed in the Python that runs this.
"""

from __future__ import annotations

import os
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec

from durably import entrypoint, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.serde import TypedSerializer

ROUNDS = 7
MEGABYTES = 10


def nested(records: int = 400) -> dict[str, Any]:
    """About 26 KB of what an API answers."""
    return {
        "page": 1,
        "items": [
            {"id": i, "name": f"item {i}", "price": i * 1.5, "tags": ["a", "b"], "stock": {"here": i, "there": None}}
            for i in range(records)
        ],
    }


def microseconds(call: Callable[[], object]) -> float:
    """The median time of a call."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(200):
            call()
        times.append((time.perf_counter() - start) / 200 * 1e6)
    return statistics.median(times)


def round_trips() -> None:
    """A table of encode and decode times as ratios to bare msgspec, taken in turn."""
    ours = TypedSerializer()
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
    print("| value | bytes | bare msgspec, us | durably, us | ratio |")
    print("|---|---|---|---|---|")
    for name, value in (("an int", 7), ("a small dict", {"a": 1, "b": "two"}), ("a nested dict", nested())):
        bare = microseconds(lambda value=value: decode(encode(value)))  # type: ignore[misc]
        own = microseconds(lambda value=value: ours.loads(ours.dumps(value)))  # type: ignore[misc]
        print(f"| {name} | {len(encode(value)):,} | {bare:.2f} | {own:.2f} | {own / bare:.2f} |")


def large_result() -> None:
    """The peak memory of a run whose task returns 10 MB of bytes, in multiples of them."""
    data = os.urandom(MEGABYTES * 1024 * 1024)

    @task
    def produce(_: int) -> bytes:
        return data

    with SqliteSaver(":memory:") as saver:

        @entrypoint(checkpointer=saver)
        def run(x: int) -> int:
            return len(produce(x).result())

        run.invoke(0, thread_id="warm up")
        tracemalloc.start()
        run.invoke(0, thread_id="measured")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    print(
        f"\nA task result of {MEGABYTES} MB: {peak / len(data):.2f} copies of it at the peak, beside the value itself"
    )


if __name__ == "__main__":
    round_trips()
    large_result()
