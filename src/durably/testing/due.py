"""What a checkpointer promises to those who look for work: due runs, waiting ones, and the processes that hold threads."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ..checkpoint.base import BaseCheckpointer, OwnerRow, RunRow, Status, ThreadRow, Transaction
from .base import Contract, a_run, held, one

__all__ = ["DueContract"]


def accepted(checkpointer: BaseCheckpointer, name: str, **fields: Any) -> tuple[ThreadRow, RunRow]:
    """A thread that nobody holds, with a run that is due at some time."""
    owner = fields.pop("owner", "")

    def work(transaction: Transaction) -> tuple[ThreadRow, RunRow]:
        thread = transaction.put_thread(ThreadRow(0, name, fence=1, owner=owner))
        run = transaction.put_run(a_run(thread.no, f"run-of-{name}", **{"status": "pending", **fields}))
        return transaction.put_thread(replace(thread, run_no=run.no)), run

    pair: tuple[ThreadRow, RunRow] = one(checkpointer, work)
    return pair


class DueContract(Contract):
    """Tests of the operations by which workers find runs."""

    def test_due_runs_come_in_the_order_in_which_they_are_due(self) -> None:
        """Those of the workflows asked for, up to a moment and a limit; with all they consist of."""
        saver = self.fresh()
        pairs = [accepted(saver, f"t{due:g}", due=due) for due in (30.0, 10.0, 20.5, 20.25)]
        other = accepted(saver, "other", due=5.0, workflow="other")
        accepted(saver, "never")

        def due(workflows: list[str], now: float, limit: int = 10) -> list[tuple[ThreadRow, RunRow]]:
            found: list[tuple[ThreadRow, RunRow]] = one(
                saver, lambda transaction: transaction.due(workflows, now, limit)
            )
            return found

        assert due(["publish"], 9.0) == []
        assert due(["publish"], 10.0) == [pairs[1]]
        assert due(["publish"], 20.5) == [pairs[1], pairs[3], pairs[2]]
        assert due(["publish"], float("inf"), 3) == [pairs[1], pairs[3], pairs[2]]
        assert due(["other", "publish"], 20.25, 2) == [other, pairs[1]]
        assert due(["none"], 99.0) == due([], 99.0) == due(["publish"], 99.0, 0) == []

    def test_a_run_is_due_whatever_its_status_but_not_while_its_thread_is_held(self) -> None:
        """What due means is said by nothing else."""
        saver = self.fresh()
        statuses: tuple[Status, ...] = ("pending", "sleeping", "asked", "stopped", "failed")
        for number, status in enumerate(statuses):
            accepted(saver, status, status=status, due=float(number))
        accepted(saver, "held", due=0.5, owner="somebody")
        found = one(saver, lambda transaction: transaction.due(["publish"], 99.0, 10))
        assert [run.status for _, run in found] == list(statuses)

    def test_a_run_that_is_taken_is_not_due_any_more(self) -> None:
        """Nor one that is deleted; and one may become due again."""
        saver = self.fresh()
        (thread, run), (_, doomed) = accepted(saver, "a", due=1.0), accepted(saver, "b", due=2.0)

        def numbers() -> list[int]:
            return [run.no for _, run in one(saver, lambda transaction: transaction.due(["publish"], 99.0, 10))]

        assert numbers() == [run.no, doomed.no]
        one(saver, lambda transaction: transaction.put_run(replace(run, status="running", due=None)))
        one(saver, lambda transaction: transaction.delete_runs([doomed.no]))
        assert numbers() == []
        one(saver, lambda transaction: transaction.put_run(replace(run, status="sleeping", due=50.0)))
        assert numbers() == [run.no]
        one(saver, lambda transaction: transaction.put_thread(replace(thread, owner="somebody")))
        assert numbers() == []

    def test_waiting_runs_are_found_in_the_order_in_which_they_came(self) -> None:
        """The pending ones of one thread, one after the other."""
        saver = self.fresh()
        thread, _ = held(saver, "a")
        accepted(saver, "b")
        statuses: tuple[Status, ...] = ("cancelled", "pending", "pending", "done", "pending")

        def write(transaction: Transaction) -> list[RunRow]:
            return [transaction.put_run(a_run(thread.no, f"r{i}", status=status)) for i, status in enumerate(statuses)]

        runs = one(saver, write)
        befores = (0, runs[1].no, runs[2].no, runs[4].no)
        found = one(saver, lambda transaction: [transaction.waiting(thread.no, before) for before in befores])
        assert found == [runs[1], runs[2], runs[4], None]

    def test_held_threads_are_found_by_who_holds_them(self) -> None:
        """Each with its current run; a thread without an owner is nobody's."""
        saver = self.fresh()
        pairs = [accepted(saver, name, owner=name[0], status="running") for name in ("a1", "b1", "a2")]
        accepted(saver, "free")

        def found(owner: str) -> list[tuple[ThreadRow, RunRow]]:
            return sorted(one(saver, lambda transaction: transaction.held(owner)), key=lambda pair: pair[0].no)

        assert found("a") == [pairs[0], pairs[2]]
        assert found("b") == [pairs[1]]
        assert found("c") == []

    def test_those_who_hold_threads_are_found_with_their_leases(self) -> None:
        """Once each; an end of the lease at 0 where there is no row."""
        saver = self.fresh()
        for name in ("a1", "a2", "b1"):
            accepted(saver, name, owner=name[0], status="running")
        rows = [OwnerRow("a", "host", 17.5), OwnerRow("idle", "host", 18.5)]

        def look(transaction: Transaction) -> list[OwnerRow]:
            for row in rows:
                transaction.put_owner(row)
            return transaction.holders()

        found = one(saver, look)
        assert sorted(found, key=lambda row: row.owner) == [rows[0], OwnerRow("b", "", 0.0)]

    def test_processes_are_forgotten_that_are_gone_and_hold_nothing(self) -> None:
        """Neither one whose lease runs, nor one whose thread is still to be taken over."""
        saver = self.fresh()
        accepted(saver, "a", owner="holding", status="running")
        rows = [OwnerRow("holding", "h", 1.0), OwnerRow("gone", "h", 1.0), OwnerRow("alive", "h", 10.0)]

        def write(transaction: Transaction) -> list[OwnerRow | None]:
            for row in rows:
                transaction.put_owner(row)
            transaction.delete_owners(10.0)
            return [transaction.owner(row.owner) for row in rows]

        assert one(saver, write) == [rows[0], None, rows[2]]

    def test_listening_can_be_ended(self) -> None:
        """A hint may come or not, and after the end of listening nothing breaks."""
        saver = self.fresh()
        heard: list[None] = []
        stop = saver.listen(lambda: heard.append(None))
        accepted(saver, "a", due=1.0)
        stop()
        before = len(heard)
        accepted(saver, "b", due=1.0)
        assert len(heard) == before
