"""What becomes of runs whose processes are gone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from worker import Shop, lines, wait_for

from durably import Runtime, entrypoint, get_config, task
from durably.checkpoint.base import BaseCheckpointer, OwnerRow, Transaction
from durably.engine.owner import _process, host_identity, is_proved_dead
from durably.errors import ConfigError, EmptyInputError, ThreadBusy
from durably.state import recovery


class TestAfterAKill:
    def test_a_new_process_finishes_what_was_under_way(self, shop: Shop, do: Any) -> None:
        for thread in "ab":
            shop.killed(thread, f"first-{thread}")
        assert shop.flow.invoke(["done"], thread_id="c") == ["done"]
        assert [t.thread_id for t in do(shop.flow, "threads", status="running")] == ["b", "a"]
        shop.open()
        assert do(shop.flow, "recover") == {"a": ["first-a", "a"], "b": ["first-b", "b"]}
        assert sorted(lines(shop.ledger)) == sorted(
            [f"{word} first-{t}" for t in "ab" for word in ("begin", "end")]
            + [f"begin {t}" for t in "ab"] * 2
            + [f"end {t}" for t in "ab"]
            + ["begin done", "end done"]
        )
        assert do(shop.flow, "recover") == {}
        assert [run.attempts for run in shop.flow.runs("a")] == [2]

    def test_it_can_also_be_resumed_by_hand(self, shop: Shop, do: Any) -> None:
        shop.killed("a", "first")
        shop.open()
        assert do(shop.flow, "invoke", None, thread_id="a") == ["first", "a"]

    def test_many_processes_recover_at_once(self, shop: Shop) -> None:
        threads = [f"t{n}" for n in range(6)]
        for thread in threads:
            shop.killed(thread)
        shop.open()
        outcomes = [job.outcome()["value"] for job in [shop.start("recover") for _ in range(4)]]
        found = [(thread, value) for outcome in outcomes for thread, value in outcome.items()]
        assert sorted(found) == [(thread, [thread]) for thread in threads]
        for thread in threads:
            assert lines(shop.ledger).count(f"end {thread}") == 1

    def test_a_start_under_the_same_key_goes_on_with_it(self, shop: Shop, do: Any) -> None:
        shop.killed("a", "first", idempotency_key="order")
        shop.open()
        assert do(shop.flow, "invoke", ["something else"], thread_id="a", idempotency_key="order") == ["first", "a"]
        assert len(shop.flow.runs("a")) == 1

    def test_whoever_waits_for_the_run_of_its_key_takes_it_over(self, shop: Shop) -> None:
        job = {"input": [f"a@{shop.folder / 'gate'}"], "thread": "a", "how": {"idempotency_key": "order"}}
        first = shop.start(**job)
        wait_for(lambda: "begin a" in lines(shop.ledger))
        second = shop.start(**job)
        wait_for(lambda: lines(shop.ledger, "keyed"))
        first.kill()
        shop.open()
        assert second.outcome() == {"value": ["a"]}
        assert [run.attempts for run in shop.flow.runs("a")] == [2]

    def test_a_new_input_leaves_it_behind(self, shop: Shop, do: Any) -> None:
        shop.killed("a", "first")
        assert do(shop.flow, "invoke", ["new"], thread_id="a") == ["new"]
        assert [run.status for run in shop.flow.runs("a")] == ["done", "abandoned"]
        assert do(shop.flow, "recover") == {}

    def test_a_run_of_durability_exit_left_nothing_and_is_not_recovered(self, shop: Shop, do: Any) -> None:
        shop.killed("a", "first", durability="exit")
        shop.open()
        assert do(shop.flow, "recover") == {}
        assert shop.flow.runs("a")[0].calls() == []
        with pytest.raises(EmptyInputError, match="exit"):
            do(shop.flow, "invoke", None, thread_id="a")
        assert do(shop.flow, "invoke", ["new"], thread_id="a") == ["new"]

    def test_a_run_in_durability_sync_stays_so(self, shop: Shop, do: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.killed("a", "first", durability="sync")
        shop.open()
        seen: list[bool] = []
        transact = shop.saver.transact

        def watched(works: Any, *, durable: bool = False) -> Any:
            seen.append(durable)
            return transact(works, durable=durable)

        monkeypatch.setattr(shop.saver, "transact", watched)
        assert do(shop.flow, "recover") == {"a": ["first", "a"]}
        assert True in seen  # the run's end; looking for runs need not outlive a power cut

    def test_another_workflow_is_left_alone(self, shop: Shop, do: Any) -> None:
        shop.killed("a")

        @entrypoint(checkpointer=shop.saver)
        def other(_: str) -> None:
            return None

        assert do(other, "recover") == {}
        assert shop.flow.get_state(thread_id="a").metadata["status"] == "running"  # type: ignore[index]

    def test_one_that_fails_or_asks_again_is_told(self, shop: Shop, do: Any) -> None:
        shop.start(input=["?sure"], thread="q").outcome()

        @entrypoint(checkpointer=shop.saver, name="flow")
        def broken(names: Any) -> None:
            raise ThreadBusy("of the workflow itself")

        shop.killed("a")
        found = do(broken, "recover")
        assert list(found) == ["a"]
        assert isinstance(found["a"], ThreadBusy)
        assert shop.flow.get_state(thread_id="q").next == ("flow",)


def crash(saver: BaseCheckpointer, workflow: Any, given: Any, *, host: str, until: float, **how: Any) -> None:
    """Run a workflow in a process with this identity and lease, which goes down before it can write the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("durably.engine.attempt._settle", lambda *args, **kwargs: iter(()))
        with pytest.raises(KeyboardInterrupt):
            workflow.invoke(given, **how)

    def rename(transaction: Transaction) -> None:
        for thread, _ in (pair for holder in transaction.holders() for pair in transaction.held(holder.owner)):
            transaction.put_thread(replace(thread, owner="of another process"))
        transaction.put_owner(OwnerRow("of another process", host, until))

    saver.transact([rename])


FAR = 2.0**40


class TestOwners:
    @pytest.fixture
    def flow(self, saver: BaseCheckpointer) -> Any:
        self.die = True

        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            if self.die:
                raise KeyboardInterrupt
            return x

        return flow

    def crash(self, saver: BaseCheckpointer, flow: Any, host: str) -> None:
        """A run whose owner looks like this."""
        crash(saver, flow, 5, host=host, until=FAR, thread_id="a")
        self.die = False

    def test_on_another_host_are_waited_for_until_their_lease_ends(
        self, saver: BaseCheckpointer, flow: Any, do: Any
    ) -> None:
        host = "other-boot:pid:[1]|77|12345"
        self.crash(saver, flow, host)
        assert do(flow, "recover") == {}
        with pytest.raises(ThreadBusy):
            do(flow, "invoke", None, thread_id="a")
        ended = OwnerRow("of another process", host, time.time() - 1)
        saver.transact([lambda transaction: transaction.put_owner(ended)])
        assert do(flow, "recover") == {"a": 5}

    def test_on_this_host_whose_process_is_gone_are_not_waited_for(
        self, saver: BaseCheckpointer, flow: Any, do: Any
    ) -> None:
        machine, pid, _ = host_identity().split("|")
        self.crash(saver, flow, f"{machine}|{pid}|1")  # another process had this number then
        assert do(flow, "recover") == {"a": 5}

    def test_on_this_host_whose_process_lives_are_waited_for(self, saver: BaseCheckpointer, flow: Any, do: Any) -> None:
        machine, *_ = host_identity().split("|")
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
            self.crash(saver, flow, f"{machine}|{other.pid}|{_process(other.pid)[1]}")
            assert do(flow, "recover") == {}

    def test_of_an_unknown_machine_are_never_proved_dead(self) -> None:
        assert not is_proved_dead("|1|")
        assert not is_proved_dead(host_identity())


class TestContexts:
    def needs(self, saver: BaseCheckpointer) -> Any:
        self.die = True

        @task
        def who(*, runtime: Runtime[dict[str, str]]) -> str:
            return runtime.context["user"]

        @entrypoint(checkpointer=saver, context_schema=dict)
        def flow(x: str) -> Any:
            if self.die:
                raise KeyboardInterrupt
            return [x, who().result(), get_config()["tags"]]

        for thread in "ab":
            config = {"configurable": {"thread_id": thread}, "tags": ["nightly"]}
            crash(saver, flow, thread.upper(), host="||", until=0.0, config=config, context={"user": "ada"})
        self.die = False
        return flow

    @pytest.mark.parametrize(
        ("context", "users"),
        [
            ({"user": "eve"}, ["eve", "eve"]),
            (lambda run: {"user": f"of {run.thread_id} in {run.tags[0]}"}, ["of a in nightly", "of b in nightly"]),
        ],
    )
    def test_a_value_or_a_factory(self, saver: BaseCheckpointer, do: Any, context: Any, users: list[str]) -> None:
        flow = self.needs(saver)
        found = do(flow, "recover", context=context)
        assert found == {"a": ["A", users[0], ["nightly"]], "b": ["B", users[1], ["nightly"]]}

    def test_a_missing_one(self, saver: BaseCheckpointer, do: Any) -> None:
        flow = self.needs(saver)
        with pytest.raises(ConfigError, match="recover"):
            do(flow, "recover")
        assert [t.thread_id for t in flow.threads(status="running")] == ["b", "a"]

    def test_a_factory_that_fails_leaves_its_run_pending(self, saver: BaseCheckpointer, do: Any) -> None:
        flow = self.needs(saver)

        def factory(run: Any) -> dict[str, str] | None:
            if run.thread_id == "a":
                raise LookupError(run.thread_id)
            return {"user": run.thread_id}

        found = do(flow, "recover", context=factory)
        assert isinstance(found["a"], LookupError)
        assert found["b"] == ["B", "b", ["nightly"]]
        assert flow.handle(thread_id="a").status == "pending"
        with pytest.raises(ConfigError, match="gave None"):
            raise do(flow, "recover", context=lambda run: None)["a"]
        assert "gave None" in str(flow.get_state(thread_id="a").tasks[0].error)
        assert do(flow, "recover", context={"user": "x"}) == {"a": ["A", "x", ["nightly"]]}


def test_somebody_who_was_faster_leaves_nothing_to_recover(
    shop: Shop, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one has taken the run over just before, and it failed there."""
    shop.killed("a")
    original: Callable[..., Any] = recovery.claim_due

    @entrypoint(checkpointer=shop.saver, name="flow")
    def broken(_: Any) -> None:
        raise ValueError("broken")

    def slow(*args: Any) -> Any:
        monkeypatch.setattr(recovery, "claim_due", original)
        assert isinstance(broken.recover()["a"], ValueError)
        return original(*args)

    monkeypatch.setattr(recovery, "claim_due", slow)
    shop.open()
    assert do(shop.flow, "recover") == {}
    assert shop.flow.runs("a")[0].status == "failed"
    assert do(shop.flow, "invoke", None, thread_id="a") == ["a"]


def test_nothing_to_recover(saver: BaseCheckpointer, do: Any) -> None:
    @entrypoint(checkpointer=saver)
    def flow(x: int) -> int:
        return x

    assert do(flow, "recover") == {}
    with pytest.raises(EmptyInputError):
        do(flow, "invoke", None, thread_id="a")
