"""Threads for sync bodies, and the sentinel that hands work to them.

Waking a thread costs more than most calls, so a call wakes nobody. As long as there is something to watch, one sentinel
thread looks every millisecond; work that nobody asked for in the meantime is handed to the pool. When there is nothing to
watch the sentinel sleeps.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from logging import getLogger
from queue import Empty, SimpleQueue
from typing import Final, Protocol

__all__ = ["Pool", "Sentinel", "Watched", "pool", "sentinel"]

logger = getLogger("durably")

TICK: Final = 0.001
LINGER: Final = 0.05
"""Seconds for which the sentinel goes on ticking with nothing to watch: calls often come in groups."""

FREE_THREADS: Final = 8
"""So many threads are started whatever the machine is doing."""

MAX_THREADS: Final = 512
STUCK: Final = 0.05
"""Seconds without any progress after which more threads are started all the same: those there are may wait for them."""

BEYOND: Final = 32
"""So many are then started at a time: those that work on what the others wait for soon set these free."""

IDLE_SECONDS: Final = 10.0


class Pool:
    """Threads that run jobs, started when there is reason to believe that more of them help."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = 0
        self._idle = 0
        self.finished = 0  # how many bodies have ended, as a sign of progress; approximate
        self._last_growth = (0.0, 0.0, 0)

    def offer(self, job: Callable[[], None], wanted: int) -> None:
        """Have up to ``wanted`` threads run ``job``: the idle ones, and new ones where that promises something."""
        with self._lock:
            idle = min(wanted, self._idle)
            self._idle -= idle
            new = self._growth(wanted - idle)
            self._threads += new
        for _ in range(idle):
            self._jobs.put(job)
        for _ in range(new):
            self._start(job)

    def run(self, job: Callable[[], None]) -> None:
        """Have a thread run ``job`` at once: for what others may wait for, whatever the number of threads."""
        with self._lock:
            idle = self._idle > 0
            self._idle -= idle
            self._threads += not idle
        if idle:
            self._jobs.put(job)
        else:
            self._start(job)

    def _growth(self, wanted: int) -> int:
        """How many threads to add: twice as many each time, while those there are seem to be waiting."""
        if wanted <= 0:
            return 0
        if self._threads < FREE_THREADS:
            return min(wanted, FREE_THREADS - self._threads)
        now, cpu, finished = time.monotonic(), time.process_time(), self.finished
        then, cpu_then, finished_then = self._last_growth
        progress = finished - finished_then
        stuck = progress == 0 and now - then > STUCK
        if not stuck:
            computing = cpu - cpu_then > 0.8 * (now - then)
            if self._threads >= MAX_THREADS or computing or progress >= self._threads:
                if progress:
                    self._last_growth = (now, cpu, finished)
                return 0
        self._last_growth = (now, cpu, finished)
        return min(wanted, self._threads if self._threads < MAX_THREADS else BEYOND)

    def _start(self, job: Callable[[], None]) -> None:
        threading.Thread(target=self._work, args=(job,), name="durably-worker", daemon=True).start()

    def _work(self, job: Callable[[], None] | None) -> None:
        while job is not None:
            job()
            job = self._next()

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            self._idle += 1
        try:
            return self._jobs.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                if self._idle:  # nobody has counted on this thread
                    self._idle -= 1
                    self._threads -= 1
                    return None
            return self._jobs.get()


class Watched(Protocol):
    """What the sentinel looks after."""

    def tick(self, now: float) -> float | None:
        """Do what is due; returns in how many seconds to look again, None for not at all."""


class Sentinel:
    """One thread that looks after everything watched. Adding something costs nothing while it is awake."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[Watched, float] = {}
        self._wake = threading.Event()
        self._next_look = float("inf")
        self._started = False

    def watch(self, watched: Watched, seconds: float = TICK) -> None:
        """Look at it in ``seconds``, and then as often as it asks for."""
        due = time.monotonic() + seconds
        with self._lock:
            if self._watched.get(watched, float("inf")) <= due:
                return
            self._watched[watched] = due
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="durably-sentinel", daemon=True).start()
            wake = due < self._next_look - TICK
        if wake:
            self._wake.set()

    def _run(self) -> None:
        quiet_since = time.monotonic()
        while True:
            now = time.monotonic()
            with self._lock:
                due = [watched for watched, when in self._watched.items() if when <= now]
                for watched in due:
                    del self._watched[watched]
            for watched in due:
                self._look_at(watched, now)
            if due:
                quiet_since = now
            self._sleep(now, quiet_since)

    def _look_at(self, watched: Watched, now: float) -> None:
        try:
            again = watched.tick(now)
        except Exception:  # one run's trouble must not stop the others' clock
            logger.exception("the sentinel could not look after %r", watched)
            again = LINGER
        if again is not None:
            self.watch(watched, again)

    def _sleep(self, now: float, quiet_since: float) -> None:
        with self._lock:
            earliest = min(self._watched.values(), default=float("inf"))
            if now - quiet_since < LINGER:
                earliest = min(earliest, now + TICK)
            self._next_look = earliest
        if earliest <= now + 2 * TICK:
            time.sleep(TICK)
        else:
            self._wake.wait(None if earliest == float("inf") else earliest - now)
            self._wake.clear()
        with self._lock:
            self._next_look = 0.0  # awake: whatever is added now is seen


pool = Pool()
sentinel = Sentinel()


def _forget_threads() -> None:
    """A forked child has none of its parent's threads."""
    pool.__init__()  # type: ignore[misc]
    sentinel.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
