"""A slow reader of a stream slows the writer down, on threads and on event loops."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

from durably import entrypoint, get_stream_writer, task
from durably.engine.stream import CAPACITY, Channel


class Chunk:
    """Something that can be referred to weakly."""


@task
async def write(n: int) -> None:
    writer = get_stream_writer()
    for i in range(100):
        writer(n * 100 + i)


def test_calls_on_a_loop_wait_for_a_reader_that_is_behind() -> None:
    begun = 0

    @entrypoint()
    async def run(n: int) -> None:
        nonlocal begun
        for i in range(n):
            begun = i
            await write(i)

    async def main() -> list[int]:
        chunks = []
        ahead = []
        async for chunk in run.astream(100, stream_mode="custom"):
            chunks.append(chunk)
            ahead.append(begun * 100 - chunk)
            await asyncio.sleep(0)
        assert max(ahead) <= 2 * CAPACITY + 200  # what the reader has taken, and what waits behind it
        return chunks

    assert asyncio.run(main()) == list(range(10_000))


def test_a_burst_has_the_whole_buffer() -> None:
    has_written = threading.Event()

    @entrypoint()
    def run(n: int) -> None:
        writer = get_stream_writer()
        for i in range(n):
            writer(i)
        has_written.set()
        writer(n)

    chunks = []
    for chunk in run.stream(CAPACITY, stream_mode="custom"):
        chunks.append(chunk)
        if chunk == 0:  # a reader that is waiting for the writer has to be met by it
            assert has_written.wait(60)
    assert chunks == list(range(CAPACITY + 1))


def test_writers_on_threads_wait_for_a_reader_that_is_behind() -> None:
    written = 0

    @entrypoint()
    def run(n: int) -> None:
        nonlocal written
        writer = get_stream_writer()
        for i in range(n):
            writer(i)
            written = i

    ahead = []
    chunks = []
    for chunk in run.stream(10_000, stream_mode="custom"):
        chunks.append(chunk)
        ahead.append(written - chunk)
    assert chunks == list(range(10_000))
    assert max(ahead) <= 2 * CAPACITY + 1  # what the reader has taken, and what waits behind it


def test_nothing_is_lost_between_many_writers_and_a_reader_that_falls_asleep() -> None:
    channel = Channel(frozenset({"custom"}))

    def writing(writer: int) -> None:
        write = channel.sink("custom", ())
        for n in range(2_000):
            write((writer, n))
            if n % 100 == 0:
                time.sleep(0)  # let the reader find nothing, and fall asleep

    threads = [threading.Thread(target=writing, args=(writer,)) for writer in range(4)]

    def closing() -> None:
        for thread in threads:
            thread.join()
        channel.close()

    for thread in threads:
        thread.start()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(closing)
        chunks = [chunk for batch in channel.batches() for chunk in batch]
    assert len(chunks) == 8_000
    for writer in range(4):
        assert [n for other, n in chunks if other == writer] == list(range(2_000))


def test_after_the_reader_has_left_nothing_is_kept() -> None:
    channel = Channel(frozenset({"custom"}))
    write = channel.sink("custom", ())
    write(object())
    channel.leave()
    chunk = Chunk()
    kept = weakref.ref(chunk)
    write(chunk)
    del chunk
    assert kept() is None
    for n in range(2 * CAPACITY):  # a writer does not wait for it either
        write(n)
