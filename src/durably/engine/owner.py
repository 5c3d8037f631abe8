"""Which process holds a thread, and whether it is still there.

A process names itself once per database and renews one lease for all its runs. It counts as dead when its operating
system proves it, otherwise when its lease has run out. Only liveness hangs on this: what an attempt may write is decided
by its fence.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakSet

from ..checkpoint.base import OwnerRow, ThreadRow, Transaction
from .commit import Committer
from .identity import new_run_id
from .steps import drive
from .threads import sentinel

__all__ = ["Owner"]

LEASE_SECONDS: Final = 30.0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _start_time(pid: int | str) -> str:
    """When a process began, as its kernel counts; empty where there is none, or it only waits to be buried."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _machine() -> str:
    """Names this boot of this machine and the namespace in which its process numbers mean something."""
    boot = _read("/proc/sys/kernel/random/boot_id").strip()
    try:
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}" if boot else ""
    except OSError:
        return ""


def host_identity() -> str:
    """This process as its operating system knows it: machine, number and start time."""
    return f"{_machine()}|{os.getpid()}|{_start_time('self')}"


def is_proved_dead(host: str) -> bool:
    """Whether this machine's operating system proves that the process is gone."""
    machine, pid, started = host.split("|")
    if not machine or machine != _machine():
        return False
    return not started or _start_time(pid) != started


class Owner:
    """This process as the holder of threads in one database."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self.name = new_run_id()
        self._host = host_identity()
        self._until = 0.0
        self._lock = threading.Lock()
        self._attempts: set[tuple[int, int]] = set()
        _owners.add(self)

    @staticmethod
    def of(committer: Committer) -> Owner:
        """The one owner of ``committer``."""
        if committer.owner is None:
            with _making:
                if committer.owner is None:
                    committer.owner = Owner(committer)
        owner: Owner = committer.owner
        return owner

    def register(self, transaction: Transaction, now: float) -> None:
        """Write or renew the lease where it is due, as part of a run's start."""
        if now > self._until - LEASE_SECONDS / 2:
            self._renew(now, transaction)

    def began(self, thread_no: int, fence: int) -> None:
        """An attempt of this process holds a thread."""
        with self._lock:
            self._attempts.add((thread_no, fence))
        sentinel.watch(self, LEASE_SECONDS / 3)

    def ended(self, thread_no: int, fence: int) -> None:
        """It holds it no longer, whether or not that could be written."""
        with self._lock:
            self._attempts.discard((thread_no, fence))

    def tick(self, now: float) -> float | None:
        """For the sentinel: renew the lease as long as attempts are under way."""
        if not self._attempts:
            return None
        try:
            drive(self._committer.perform(partial(self._renew, time.time())))
        except Exception:
            return LEASE_SECONDS / 30  # the fence keeps a run safe whose lease runs out
        return LEASE_SECONDS / 3

    def _renew(self, now: float, transaction: Transaction) -> None:
        self._until = now + LEASE_SECONDS
        transaction.put_owner(OwnerRow(self.name, self._host, self._until))

    def is_held(self, thread: ThreadRow, transaction: Transaction, now: float) -> bool:
        """Whether somebody alive holds the thread."""
        if not thread.owner:
            return False
        if thread.owner == self.name:
            return (thread.no, thread.fence) in self._attempts
        row = transaction.owner(thread.owner)
        return row is not None and row.until > now and not is_proved_dead(row.host)


_owners: WeakSet[Owner] = WeakSet()
_making = threading.Lock()


def _rename() -> None:
    """A forked child is another process, and holds nothing."""
    for owner in list(_owners):
        owner.__init__(owner._committer)  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_rename)
