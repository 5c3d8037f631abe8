"""What a checkpointer promises about values stored as differences, listings, and what is deleted."""

from __future__ import annotations

import threading
from typing import Any

from msgspec.structs import replace

from ..checkpoint.base import RunRow, ThreadQuery, ThreadRow, Transaction
from ..errors import Superseded
from ..func import entrypoint, task
from .base import Contract, a_run, chunk, held, one, opened, records

__all__ = ["RetentionContract"]


class RetentionContract(Contract):
    """Tests of the operations behind listing, pruning and deleting."""

    def test_saved_values_know_what_they_are_built_upon(self) -> None:
        """The nearest first, through runs of any thread, up to one that is stored whole."""
        saver = self.fresh()

        def write(transaction: Transaction) -> list[RunRow]:
            thread = transaction.put_thread(ThreadRow(0, "a"))
            chain: list[RunRow] = []
            for n in range(4):
                base = chain[-1].no if chain else 0
                row = a_run(thread.no, f"r{n}", saved=b"%d" % n, saved_no=n + 1, saved_base=base)
                chain.append(transaction.put_run(row))
            return chain

        chain = one(saver, write)
        assert one(saver, lambda transaction: transaction.saved_bases(chain[3].no)) == chain[2::-1]
        assert one(saver, lambda transaction: transaction.saved_bases(chain[0].no)) == []
        one(saver, lambda transaction: transaction.save(chain[2].no, b"whole", 0))
        whole = replace(chain[2], saved=b"whole", saved_base=0)
        assert one(saver, lambda transaction: transaction.saved_bases(chain[3].no)) == [whole]
        one(saver, lambda transaction: transaction.save(chain[1].no, None, 0))
        assert one(saver, lambda transaction: transaction.run(chain[1].no)) == replace(
            chain[1], saved=None, saved_base=0
        )

    def test_deleted_runs_are_gone_with_their_journals(self) -> None:
        """By name, by key, in lists; the others stay."""
        saver = self.fresh()
        thread, first = held(saver, "a")
        rows = [a_run(thread.no, f"r{n}", key=f"k{n}") for n in range(3)]
        gone, stays, also = one(saver, lambda transaction: [transaction.put_run(row) for row in rows])
        for run in (first, gone, stays, also):
            saver.append([chunk(thread, run, b"1"), chunk(thread, run, b"2")])
        one(saver, lambda transaction: transaction.delete_runs([gone.no, also.no]))
        one(saver, lambda transaction: transaction.delete_runs([]))

        def look(transaction: Transaction, run: RunRow) -> tuple[Any, ...]:
            return transaction.run(run.no), transaction.find_run(run.run_id), transaction.find_key(thread.no, run.key)

        assert one(saver, lambda tx: [look(tx, run) for run in (gone, also)]) == [(None, None, None)] * 2
        assert [*records(saver, gone), *records(saver, also)] == []
        assert one(saver, lambda tx: look(tx, stays)) == (stays, stays, stays)
        assert list(records(saver, stays)) == [b"1", b"2"]
        assert one(saver, lambda tx: tx.runs(thread.no, 1 << 40, 10)) == [stays, first]

    def test_a_deleted_thread_is_gone_and_its_name_is_free(self) -> None:
        """Nothing can be appended under its fence."""
        saver = self.fresh()
        (thread, run), (other, _) = held(saver, "a"), held(saver, "b")

        def delete(transaction: Transaction) -> None:
            transaction.delete_runs([run.no])
            transaction.delete_thread(thread.no)

        one(saver, delete)
        assert opened(saver, "a").thread is None
        assert saver.append([chunk(thread, run, b"late")]) == [False]
        assert one(saver, lambda transaction: transaction.thread(thread.no)) is None
        assert one(saver, lambda transaction: transaction.thread_nos(0, 10)) == [(other.no, "b")]
        again, _ = held(saver, "a")
        assert opened(saver, "a").thread == again

    def test_threads_are_listed_in_pages(self) -> None:
        """By number, all of them once."""
        saver = self.fresh()
        threads = [held(saver, f"t{n}")[0] for n in range(5)]
        expected = sorted((thread.no, thread.thread_id) for thread in threads)

        def page(after: int, limit: int) -> list[tuple[int, str]]:
            listed: list[tuple[int, str]] = one(saver, lambda tx: tx.thread_nos(after, limit))
            return listed

        assert page(0, 10) == expected
        assert page(0, 2) == expected[:2]
        assert page(expected[1][0], 2) == expected[2:4]
        assert page(expected[4][0], 2) == []

    def test_threads_are_found_by_their_current_runs(self) -> None:
        """By workflow, status and time, latest first, in pages."""
        saver = self.fresh()

        def write(transaction: Transaction) -> list[tuple[ThreadRow, RunRow]]:
            pairs = []
            for n, status in enumerate(("done", "running", "asked", "failed", "done")):
                owner = "somebody" if status == "running" else ""
                thread = transaction.put_thread(ThreadRow(0, f"t{n}", 1, owner=owner))
                transaction.put_run(a_run(thread.no, f"old{n}", status="failed", updated_at=float(n)))
                row = a_run(thread.no, f"r{n}", status=status, updated_at=float(n), workflow="w" if n < 4 else "other")
                run = transaction.put_run(row)
                pairs.append((transaction.put_thread(replace(thread, run_no=run.no)), run))
            return pairs

        pairs = one(saver, write)

        def found(before: int = 1 << 40, limit: int = 10, **query: Any) -> list[int]:
            rows = one(saver, lambda tx: tx.threads(ThreadQuery("w", **query), before, limit))
            assert all(row in pairs for row in rows)
            return [pairs.index(row) for row in rows]

        assert found() == [3, 2, 1, 0]
        assert found(limit=2) == [3, 2]
        assert found(before=pairs[2][1].no) == [1, 0]
        assert [found(status=status) for status in ("done", "running", "asked", "failed")] == [[0], [1], [2], [3]]
        assert found(since=1.0, until=3.0) == [2, 1]
        assert found(status="stopped") == []

    def test_a_run_whose_thread_was_deleted_writes_nothing(self) -> None:
        """Not even where another thread gets the numbers that the deleted one had."""
        saver = self.fresh()
        begun = {n: threading.Event() for n in (1, 2)}
        go_on = threading.Event()
        outcomes: dict[int, Any] = {}

        @task
        def wait(n: int) -> str:
            begun[n].set()
            go_on.wait()
            return f"result {n}"

        @entrypoint(checkpointer=saver)
        def run(n: int) -> Any:
            return wait(n).result()

        def invoke(n: int) -> None:
            try:
                outcomes[n] = run.invoke(n, thread_id=f"t{n}")
            except Exception as error:
                outcomes[n] = error

        threads = []
        for n in (1, 2):
            threads.append(threading.Thread(target=invoke, args=(n,)))
            threads[-1].start()
            begun[n].wait()
            if n == 1:
                assert saver.delete_thread("t1")
        go_on.set()
        for thread in threads:
            thread.join()
        assert isinstance(outcomes[1], Superseded)
        assert outcomes[2] == "result 2"
        found = opened(saver, "t2")
        assert found.run is not None
        assert not any(b"result 1" in data for data in records(saver, found.run))
        assert opened(saver, "t1").thread is None
