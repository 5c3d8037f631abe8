"""What a checkpointer promises to the engine: rows, journals, fences, and transactions shared by several works."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from msgspec.structs import replace

from ..checkpoint.base import (
    BaseCheckpointer,
    Chunk,
    Opened,
    OwnerRow,
    RunRow,
    Status,
    ThreadQuery,
    ThreadRow,
    Transaction,
)
from ..errors import ThreadBusy
from .base import Contract, a_run, chunk, expect, held, one, opened, records

__all__ = ["TransactionContract"]

BYTES = bytes(range(256)) + b"\x00" * 3


def append(data: Chunk, transaction: Transaction) -> bool:
    """Append inside a transaction."""
    return transaction.append(data)


class TransactionContract(Contract):
    """Tests of `durably.checkpoint.base.BaseCheckpointer` itself."""

    # Rows.

    def test_a_thread_that_was_never_written_is_not_there(self) -> None:
        """Nothing is found, and asking writes nothing."""
        saver = self.fresh()

        def look(transaction: Transaction) -> tuple[Any, ...]:
            return (
                transaction.open("none"),
                transaction.run(1),
                transaction.find_run("none"),
                transaction.find_key(1, "none"),
                transaction.runs(1, 1 << 40, 10),
                transaction.records(1),
                transaction.thread(1),
                transaction.owner("none"),
                transaction.held("none"),
                transaction.holders(),
                transaction.due(["publish"], 2e9, 10),
                transaction.waiting(1, 0),
            )

        for _ in range(2):
            assert one(saver, look) == (Opened(), None, None, None, [], [], None, None, [], [], [], None)

    def test_rows_come_back_as_they_were_put(self) -> None:
        """Every field of a thread, a run and an owner, however odd its text and bytes."""
        saver = self.fresh()
        thread_id = "Ünï\N{SNOWMAN} \N{CHERRY BLOSSOM} 'quoted'; -- \\ %s :1 ?"
        owner = OwnerRow("owner \N{SNOWMAN}", "boot:ns|1|2", 1_700_000_000.125)
        fields = {"input": BYTES, "head": b"", "outcome": BYTES, "saved": b"", "base_no": 7, "key": thread_id}
        fields["due"] = 1_700_000_000.625

        def write(transaction: Transaction) -> tuple[ThreadRow, RunRow]:
            transaction.put_owner(owner)
            thread = transaction.put_thread(ThreadRow(0, thread_id, fence=3, owner=owner.owner, since=17.5, next_no=4))
            run = transaction.put_run(a_run(thread.no, "r1", **fields))
            thread = transaction.put_thread(replace(thread, run_no=run.no, head_no=run.no))
            return thread, run

        thread, run = one(saver, write)
        assert thread.no > 0
        assert run.no > 0
        assert run == a_run(thread.no, "r1", no=run.no, **fields)
        assert opened(saver, thread_id) == Opened(thread, run, ("r1", b""))
        assert one(saver, lambda transaction: transaction.owner(owner.owner)) == owner
        assert one(saver, lambda transaction: transaction.thread(thread.no)) == thread
        for found in one(
            saver,
            lambda transaction: [
                transaction.run(run.no),
                transaction.find_run("r1"),
                transaction.find_key(thread.no, thread_id),
                *transaction.runs(thread.no, run.no + 1, 10),
            ],
        ):
            assert found == run

    def test_rows_that_are_put_again_are_replaced(self) -> None:
        """A number stays; what an attempt may change changes; other rows are as they were."""
        saver = self.fresh()
        thread, run = held(saver, "a")
        other_thread, other_run = held(saver, "b")
        after = replace(run, status="done", attempt=2, updated_at=2e9, outcome=b"end", saved=b"saved", saved_no=3)
        after = replace(after, parent="other-1", head=b"head", base_no=9, saved_base=8, due=17.25)
        moved = replace(thread, fence=2, run_no=run.no, head_no=run.no, owner="", since=3.0, next_no=run.no)

        def write(transaction: Transaction) -> None:
            assert transaction.put_run(after) == after
            assert transaction.put_thread(moved) == moved
            transaction.put_owner(OwnerRow("p", "h", 1.0))
            transaction.put_owner(OwnerRow("p", "h", 2.0))

        one(saver, write)
        found = opened(saver, "a")
        assert found == Opened(moved, after, (run.run_id, b"saved"))
        assert one(saver, lambda transaction: transaction.owner("p")).until == 2.0
        assert opened(saver, "b").thread == other_thread
        assert one(saver, lambda transaction: transaction.run(other_run.no)) == other_run

    def test_threads_and_runs_have_numbers_of_their_own(self) -> None:
        """Names that differ in case or in a trailing blank are different threads."""
        saver = self.fresh()
        pairs = [held(saver, name) for name in ("a", "A", "a ", "a\x00b", "")]
        assert len({thread.no for thread, _ in pairs}) == len(pairs)
        assert len({run.no for _, run in pairs}) == len(pairs)
        for thread, _ in pairs:
            assert opened(saver, thread.thread_id).thread == thread

    def test_previous_is_that_of_the_head_and_not_of_the_latest_run(self) -> None:
        """A run that has not ended well leaves the thread's saved value alone."""
        saver = self.fresh()

        def write(transaction: Transaction) -> tuple[RunRow, RunRow]:
            thread = transaction.put_thread(ThreadRow(0, "a"))
            first = transaction.put_run(a_run(thread.no, "r1", status="done", saved=b"1"))
            second = transaction.put_run(a_run(thread.no, "r2", status="failed"))
            transaction.put_thread(replace(thread, head_no=first.no, run_no=second.no))
            return first, second

        first, second = one(saver, write)
        found = opened(saver, "a")
        assert found.run == second
        assert found.saved == (first.run_id, b"1")

    def test_runs_of_a_thread_come_latest_first(self) -> None:
        """Before a number, up to a limit, of that thread alone."""
        saver = self.fresh()
        thread, first = held(saver, "a")
        held(saver, "b")
        rest = one(saver, lambda tx: [tx.put_run(a_run(thread.no, f"r{i}")) for i in range(4)])
        numbers = [run.no for run in (first, *rest)]
        assert numbers == sorted(numbers)

        def listed(before: int, limit: int) -> list[int]:
            return [run.no for run in one(saver, lambda tx: tx.runs(thread.no, before, limit))]

        assert listed(numbers[-1] + 1, 10) == numbers[::-1]
        assert listed(numbers[-1], 2) == numbers[::-1][1:3]
        assert listed(numbers[0], 10) == []

    def test_a_key_finds_its_run_on_its_thread_only(self) -> None:
        """Idempotency keys belong to a thread, and no key is no key."""
        saver = self.fresh()
        thread, plain = held(saver, "a")
        other, _ = held(saver, "b")
        assert plain.key == ""
        run = one(saver, lambda transaction: transaction.put_run(a_run(thread.no, "keyed", key="order-1")))
        assert one(saver, lambda transaction: transaction.find_key(thread.no, "order-1")) == run
        assert one(saver, lambda transaction: transaction.find_key(other.no, "order-1")) is None
        assert one(saver, lambda transaction: transaction.find_key(thread.no, "")) is None

    def test_threads_are_found_by_their_current_run(self) -> None:
        """By workflow, status and time, latest run first, before a number and up to a limit."""
        saver = self.fresh()
        statuses: tuple[Status, ...] = ("asked", "done", "running", "failed", "cancelled", "stopped", "asked")

        def write(transaction: Transaction) -> list[tuple[ThreadRow, RunRow]]:
            found = []
            for number, status in enumerate(statuses):
                thread = transaction.put_thread(ThreadRow(0, f"t{number}"))
                transaction.put_run(a_run(thread.no, f"old{number}", status="asked"))
                run = a_run(thread.no, f"r{number}", status=status, updated_at=float(number))
                run = transaction.put_run(replace(run, workflow="other" if number == 6 else "publish"))
                owner = "somebody" if status == "running" else ""
                found.append((transaction.put_thread(replace(thread, run_no=run.no, owner=owner)), run))
            transaction.put_thread(ThreadRow(0, "never ran"))
            return found

        rows = one(saver, write)

        def found(before: int = 1 << 62, limit: int = 10, **query: Any) -> list[int]:
            asked = ThreadQuery(**{"workflow": "publish", **query})
            pairs = one(saver, lambda transaction: transaction.threads(asked, before, limit))
            assert all(pair in rows for pair in pairs)
            return [rows.index(pair) for pair in pairs]

        assert found() == [5, 4, 3, 2, 1, 0]
        assert found(limit=2) == [5, 4]
        assert found(before=rows[4][1].no, limit=2) == [3, 2]
        assert found(workflow="other") == [6]
        assert found(workflow="none") == []
        for number, status in enumerate(statuses[:-1]):
            assert found(status=status) == [number]
        assert found(status="abandoned") == []
        assert found(since=2.0, until=4.0) == [3, 2]
        assert found(status="failed", until=3.0) == []

    # Journals and fences.

    def test_chunks_come_back_in_order(self) -> None:
        """Whether appended one by one, together, or inside a transaction; and each run has its own."""
        saver = self.fresh()
        thread, run = held(saver, "a")
        other_thread, other = held(saver, "b")
        assert saver.append([chunk(thread, run, b"0")]) == [True]
        together = [chunk(thread, run, b"1"), chunk(other_thread, other, b"x"), chunk(thread, run, b"2")]
        assert saver.append(together, durable=True) == [True, True, True]
        assert one(saver, lambda transaction: transaction.append(chunk(thread, run, b"3"))) is True
        assert saver.append([]) == []
        assert list(records(saver, run)) == [b"0", b"1", b"2", b"3"]
        assert list(records(saver, other)) == [b"x"]

    def test_chunks_may_be_large_or_empty(self) -> None:
        """Bytes are bytes."""
        saver = self.fresh()
        thread, run = held(saver, "a")
        data = [b"", BYTES, BYTES * 20_000, b"end"]
        for piece in data:
            assert saver.append([chunk(thread, run, piece)]) == [True]
        assert list(records(saver, run)) == data

    def test_many_chunks_keep_their_order(self) -> None:
        """More than one digit of them, too."""
        saver = self.fresh()
        thread, run = held(saver, "a")
        data = [b"%d" % i for i in range(1_200)]
        for start in range(0, len(data), 100):
            saver.append([chunk(thread, run, piece) for piece in data[start : start + 100]])
        assert list(records(saver, run)) == data

    def test_a_reader_gets_only_the_chunks_that_are_new_to_it(self) -> None:
        """After any number of chunks; other runs have numbers of their own."""
        saver = self.fresh()
        thread, run = held(saver, "a")
        other_thread, other = held(saver, "b")
        for i in range(3):
            saver.append([chunk(thread, run, b"%d" % i), chunk(other_thread, other, b"x")])

        def since(after: int) -> list[bytes]:
            found: list[bytes] = one(saver, lambda transaction: transaction.records(run.no, after))
            return list(found)

        assert [since(after) for after in range(5)] == [[b"0", b"1", b"2"], [b"1", b"2"], [b"2"], [], []]
        saver.append([chunk(thread, run, b"3")])
        assert since(3) == [b"3"]

    def test_what_only_reads_sees_what_was_written(self) -> None:
        """And what the work raises comes out of it."""
        saver = self.fresh()
        thread, run = held(saver, "a")
        saver.append([chunk(thread, run, b"0")])

        def refuse(transaction: Transaction) -> None:
            transaction.open("a")
            raise ThreadBusy("it is")

        assert saver.read(lambda transaction: (transaction.run(run.no), transaction.records(run.no))) == (run, [b"0"])
        with expect(ThreadBusy):
            saver.read(refuse)

    def test_a_stale_fence_appends_nothing(self) -> None:
        """Neither alone nor beside others; a fence from the future, or of no thread, is stale too."""
        saver = self.fresh()
        thread, run = held(saver, "a", fence=2)
        other_thread, other = held(saver, "b")
        stale = [Chunk(thread.no, fence, run.no, b"no") for fence in (1, 3, 0)]
        stale.append(Chunk(thread.no + other_thread.no + 1, 1, run.no, b"no"))
        for refused in stale:
            assert saver.append([refused]) == [False]
            mixed = [chunk(thread, run, b"+"), refused, chunk(other_thread, other, b"+")]
            assert saver.append(mixed) == [True, False, True]
            assert saver.transact([partial(append, refused)]) == [False]
        assert list(records(saver, run)) == [b"+"] * len(stale)
        assert list(records(saver, other)) == [b"+"] * len(stale)

    def test_a_fence_taken_in_a_transaction_holds_within_it(self) -> None:
        """Works see what those before them wrote."""
        saver = self.fresh()
        thread, run = held(saver, "a", fence=1)
        results = saver.transact(
            [
                lambda transaction: transaction.append(chunk(thread, run, b"before")),
                lambda transaction: transaction.put_thread(replace(thread, fence=2)).fence,
                lambda transaction: transaction.append(chunk(thread, run, b"too late")),
                lambda transaction: transaction.append(chunk(replace(thread, fence=2), run, b"after")),
                lambda transaction: transaction.thread(thread.no),
            ]
        )
        assert results == [True, 2, False, True, replace(thread, fence=2)]
        assert list(records(saver, run)) == [b"before", b"after"]

    # Transactions.

    def test_a_work_that_raises_leaves_the_others_alone(self) -> None:
        """Its error takes the place of its result."""
        saver = self.fresh()
        thread, run = held(saver, "a")
        trouble = ThreadBusy("held")

        def refuse(transaction: Transaction) -> None:
            transaction.open("a")
            raise trouble

        results = saver.transact(
            [
                lambda transaction: transaction.append(chunk(thread, run, b"1")),
                refuse,
                lambda transaction: transaction.append(chunk(thread, run, b"2")),
            ],
            durable=True,
        )
        assert results == [True, trouble, True]
        assert list(records(saver, run)) == [b"1", b"2"]

    def test_a_broken_work_breaks_only_its_transaction(self) -> None:
        """An error that is none of the library's is raised, and the next transaction works."""
        saver = self.fresh()
        thread, run = held(saver, "a")

        def broken(transaction: Transaction) -> None:
            raise ZeroDivisionError("a bug")

        with expect(ZeroDivisionError):
            saver.transact([broken])
        assert saver.append([chunk(thread, run, b"1")]) == [True]
        assert list(records(saver, run)) == [b"1"]

    def test_many_threads_lose_nothing(self) -> None:
        """Appends to one journal and to several, transactions between them, all at once."""
        saver = self.fresh()
        shared = held(saver, "shared")
        failures: list[BaseException] = []
        mine: dict[int, RunRow] = {}
        ready = threading.Barrier(8)

        def work(number: int) -> None:
            try:
                ready.wait()
                thread, run = held(saver, f"t{number}")
                mine[number] = run
                for i in range(25):
                    data = b"%d:%d" % (number, i)
                    assert saver.append([chunk(*shared, data)]) == [True]
                    assert saver.append([chunk(thread, run, data), chunk(*shared, data + b"!")]) == [True, True]
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert not failures, failures
        everything = list(records(saver, shared[1]))
        for number in range(8):
            own = [b"%d:%d" % (number, i) for i in range(25)]
            assert list(records(saver, mine[number])) == own
            assert [data for data in everything if data.startswith(b"%d:" % number)] == [
                piece for data in own for piece in (data, data + b"!")
            ]
        assert len({run.no for run in mine.values()}) == 8

    # Storage that outlives the object.

    def test_what_was_written_outlives_the_object(self) -> None:
        """Another object on the same storage reads it, beside the first one and after it."""
        saver = self.fresh()
        beside = self.another(saver)
        if beside is None:
            return
        thread, run = held(saver, "a")
        saver.append([chunk(thread, run, BYTES)])
        saver.close()
        after = self.another(saver)
        for reader in (beside, after):
            assert isinstance(reader, BaseCheckpointer)
            assert opened(reader, "a").thread == thread
            assert list(records(reader, run)) == [BYTES]

    def test_a_fence_taken_through_one_object_holds_for_another(self) -> None:
        """Whoever comes second writes nothing."""
        saver = self.fresh()
        other = self.another(saver)
        if other is None:
            return
        thread, run = held(saver, "a")
        one(other, lambda transaction: transaction.put_thread(replace(thread, fence=2)))
        assert saver.append([chunk(thread, run, b"late")]) == [False]
        assert other.append([chunk(replace(thread, fence=2), run, b"now")]) == [True]
        assert list(records(saver, run)) == [b"now"]
