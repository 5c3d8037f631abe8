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
from typing import Final
from weakref import WeakSet

from ..checkpoint.base import OwnerRow, ThreadRow, Transaction
from ..errors import Superseded
from .commit import Committer
from .identity import new_run_id
from .leash import Leash
from .steps import drive
from .threads import pool, sentinel

__all__ = ["Owner"]

LEASE_SECONDS: Final = 30.0


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _process(pid: int | str) -> tuple[str, str]:
    """The state of a process, and when it began, as its kernel counts; both empty where that cannot be read."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")


def _exists(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        pass
    return True


def _machine() -> str:
    """Names this boot of this machine and the namespace in which its process numbers mean something."""
    boot = _read("/proc/sys/kernel/random/boot_id").strip()
    try:
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}" if boot else ""
    except OSError:
        return ""


def host_identity() -> str:
    """This process as its operating system knows it: machine, number and start time."""
    return f"{_machine()}|{os.getpid()}|{_process('self')[1]}"


def is_proved_dead(host: str) -> bool:
    """Whether this machine's operating system proves that the process is gone."""
    machine, _, process = host.partition("|")
    pid, _, started = process.partition("|")
    if not (machine and started and pid.isdecimal()) or machine != _machine():
        return False
    state, began = _process(pid)
    if not state:  # there is no such process, or it is hidden from this user
        return not _exists(pid)
    return state in "ZX" or began != started  # one that only waits to be buried is dead


class Owner:
    """This process as the holder of threads in one database."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self.name = new_run_id()
        self._host = host_identity()
        self._until = 0.0
        self._lock = threading.Lock()
        self._attempts: dict[int, dict[int, Leash]] = {}  # by thread, then by fence
        self._taking: dict[str, tuple[int, int]] = {}  # threads taken in a transaction that may still fail
        self._lines: dict[str, list[str]] = {}  # who waits for a thread, in the order in which they came
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
        if self._is_due(now):
            self._renew(now, transaction)

    def taking(self, request: str, thread_no: int, fence: int) -> None:
        """An attempt is about to hold a thread: from here on, for those that ask in the same transaction."""
        with self._lock:
            self._taking[request] = (thread_no, fence)

    def took(self, request: str) -> None:
        """The transaction has ended, in whatever way, and nobody waits for it any more."""
        with self._lock:
            self._taking.pop(request, None)
            for thread_id, line in list(self._lines.items()) if self._lines else ():
                if request in line:
                    line.remove(request)
                    if not line:
                        del self._lines[thread_id]

    def queue(self, thread_id: str, request: str) -> None:
        """An input waits for its turn on a thread. Those of one process come in the order in which they were given."""
        with self._lock:
            line = self._lines.setdefault(thread_id, [])
            if request not in line:
                line.append(request)

    def is_next(self, thread_id: str, request: str) -> bool:
        """Whether nobody in this process has waited for longer."""
        with self._lock:
            line = self._lines.get(thread_id)
            return not line or line[0] == request

    def began(self, thread_no: int, fence: int, since: float, leash: Leash) -> None:
        """An attempt of this process has held a thread ``since`` then; one that held it before is stopped."""
        with self._lock:
            attempts = self._attempts.setdefault(thread_no, {})
            attempts[fence] = leash
            is_only = len(attempts) == 1
            if self._is_due(since):
                self._until = since + LEASE_SECONDS
        if not is_only:
            self.stop_older(thread_no, fence)
        sentinel.watch(self, LEASE_SECONDS / 3)

    def stop_older(self, thread_no: int, fence: int) -> None:
        """Stop the attempts of this process that were fenced off: they can record nothing any more."""
        with self._lock:
            older = [leash for f, leash in self._attempts.get(thread_no, {}).items() if f < fence]
        for leash in older:
            leash.stop(Superseded("another attempt has taken the thread over, or the run was cancelled"))

    def ended(self, thread_no: int, fence: int) -> None:
        """It holds it no longer, whether or not that could be written."""
        with self._lock:
            attempts = self._attempts.get(thread_no, {})
            attempts.pop(fence, None)
            if not attempts:
                self._attempts.pop(thread_no, None)

    def tick(self, now: float) -> float | None:
        """For the sentinel: renew the lease as long as attempts are under way."""
        if not self._attempts:
            return None
        pool.run(self._renew_now)  # a locked database must not hold up the sentinel
        return LEASE_SECONDS / 3

    def _renew_now(self) -> None:
        now = time.time()
        try:
            drive(self._committer.perform(partial(self._renew, now)))
        except Exception:
            sentinel.watch(self, LEASE_SECONDS / 30)  # the fence keeps a run safe whose lease runs out
        else:
            with self._lock:
                self._until = max(self._until, now + LEASE_SECONDS)

    def _is_due(self, now: float) -> bool:
        """Whether a run that starts now renews the lease. What was written counts when it is committed."""
        return now > self._until - LEASE_SECONDS / 2

    def _renew(self, now: float, transaction: Transaction) -> None:
        transaction.put_owner(OwnerRow(self.name, self._host, now + LEASE_SECONDS))

    def is_held(self, thread: ThreadRow, transaction: Transaction, now: float) -> bool:
        """Whether somebody alive holds the thread."""
        if not thread.owner:
            return False
        here = _owner_here(thread.owner)
        if here is not None:
            return here.holds(thread.no, thread.fence)
        row = transaction.owner(thread.owner)
        return row is not None and self.is_alive(row, now)

    def is_alive(self, row: OwnerRow, now: float) -> bool:
        """Whether a process is still there, as far as anybody can tell."""
        return row.until > now and not is_proved_dead(row.host) and not self._was_let_go(row)

    def _was_let_go(self, row: OwnerRow) -> bool:
        """Whether it was an owner of this very process, and is there no more: its checkpointer has been thrown away."""
        is_ours = row.host == self._host and "" not in row.host.split("|")
        return is_ours and _owner_here(row.owner) is None

    def is_here(self, name: str) -> bool:
        """Whether that is this process: each of its attempts is asked for then."""
        return _owner_here(name) is not None

    def holds(self, thread_no: int, fence: int) -> bool:
        """Whether an attempt of this owner holds the thread, or is about to."""
        with self._lock:
            return fence in self._attempts.get(thread_no, ()) or (thread_no, fence) in self._taking.values()


_owners: WeakSet[Owner] = WeakSet()
_making = threading.Lock()


def _owner_here(name: str) -> Owner | None:
    """The owner of that name in this process: perhaps of another checkpointer object, on the same database."""
    return next((owner for owner in list(_owners) if owner.name == name), None)


def _rename() -> None:
    """A forked child is another process, and holds nothing."""
    for owner in list(_owners):
        owner.__init__(owner._committer)  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_rename)
