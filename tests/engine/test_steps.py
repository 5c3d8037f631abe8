"""A call that blocks, made while a loop goes on."""

from __future__ import annotations

import asyncio
import threading

import pytest

from durably.engine.steps import Do


def test_a_call_is_made_elsewhere_and_gives_what_it_gives() -> None:
    async def main() -> None:
        assert await Do(threading.get_ident, inline=True).wait() == threading.get_ident()
        assert await Do(threading.get_ident, inline=False).wait() != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await Do(lambda: 1 // 0, inline=False).wait()
        with pytest.raises(KeyboardInterrupt):
            await Do(interrupted, inline=False).wait()

    asyncio.run(main())


def interrupted() -> None:
    raise KeyboardInterrupt


def test_who_is_cancelled_waits_for_the_end_however_often() -> None:
    began, may_end = threading.Event(), threading.Event()

    def call() -> None:
        began.set()
        may_end.wait()

    async def main() -> None:
        waiting = asyncio.create_task(Do(call, inline=False).wait())
        while not began.is_set():
            await asyncio.sleep(0)
        for _ in range(3):
            waiting.cancel("enough")
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
