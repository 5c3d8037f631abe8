"""Stops a workflow at every write in turn, resumes it, and compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..engine.ending import Asked
from ..engine.identity import Key
from ..engine.steps import Steps, adrive, drive
from ..types import Command, Durability
from ..workflow import Workflow
from .lives import Invoke, StoppingSaver, Watch, prepared

if TYPE_CHECKING:
    from ..engine.attempt import Invocation

__all__ = ["Stop", "Sweep", "acrash_everywhere", "crash_everywhere"]

In = TypeVar("In")
Out = TypeVar("Out")

Answer = Callable[[Any], Any]

MOST_STOPS: Final = 2_000
MOST_LIVES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Stop:
    """One trial of a sweep: the workflow was stopped at a write and then resumed until it ended.

    Args:
        write: the number of the write that was never made, from 1.
        ran: how often each task was begun, in all, retries included.
    """

    write: int
    ran: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What `crash_everywhere` found.

    Args:
        result: what the workflow returned, each time.
        ran: how often each task was begun in the run that was not stopped.
        stops: the trials, in the order of the writes.
    """

    result: Any
    ran: Mapping[str, int]
    stops: tuple[Stop, ...]

    def most(self, name: str) -> int:
        """How often a task was begun at the most, in any trial.

        A task that was under way at the stop runs again, so this may be one more than in ``ran``.
        """
        return max((stop.ran.get(name, 0) for stop in self.stops), default=self.ran.get(name, 0))


def crash_everywhere(
    workflow: Workflow[In, Out],
    input: In,
    *,
    answer: Answer | None = None,
    context: Any = None,
    durability: Durability = "sync",
    fresh: Callable[[], object] | None = None,
) -> Sweep:
    """Run a workflow, then run it again for each of its writes, stop it there as if its process were killed, and resume it.

    It runs on storage of its own in memory, whatever its checkpointer is. The tasks really run: give the workflow
    services that a test may call, or replace tasks by `stub`.

    Args:
        workflow: sync or async.
        input: what to invoke it with.
        answer: takes what a question asks and gives the answer, for workflows that ask.
        context: as for ``invoke``.
        durability: as for ``invoke``; with ``"sync"`` every result is a write of its own.
        fresh: called before each trial, to bring the world outside back to where it was.

    Returns:
        The result, and which tasks ran how often.

    Raises:
        AssertionError: a trial ended otherwise than the run that was not stopped, or a task whose result was stored
            ran again.

    >>> from durably import InMemorySaver, entrypoint, task
    >>> @task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> @entrypoint(checkpointer=InMemorySaver())
    ... def quadruple(x: int) -> int:
    ...     return double(double(x).result()).result()
    >>> sweep = crash_everywhere(quadruple, 3)
    >>> sweep.result, len(sweep.stops), sweep.ran["double"], sweep.most("double")
    (12, 4, 2, 3)
    """
    plan = _Plan(workflow, input, answer, {"context": context, "durability": durability}, fresh)
    return drive(_sweep(plan))


async def acrash_everywhere(
    workflow: Workflow[In, Out],
    input: In,
    *,
    answer: Answer | None = None,
    context: Any = None,
    durability: Durability = "sync",
    fresh: Callable[[], object] | None = None,
) -> Sweep:
    """As `crash_everywhere`, on the running event loop."""
    plan = _Plan(workflow, input, answer, {"context": context, "durability": durability}, fresh)
    return await adrive(_sweep(plan))


@dataclass(frozen=True, slots=True)
class _Plan:
    workflow: Workflow[Any, Any]
    input: Any
    answer: Answer | None
    how: Mapping[str, Any]
    fresh: Callable[[], object] | None

    def invocation(self, saver: StoppingSaver, watch: Watch, input: Any) -> Invocation:
        """Run the workflow on that storage."""
        return prepared(self.workflow, saver, watch, input, **self.how)

    def storage(self, stop_at: int | None) -> StoppingSaver:
        """Empty storage that encodes values as the workflow's own does."""
        own = self.workflow.checkpointer
        return StoppingSaver(stop_at=stop_at, serde=None if own is None else own.serde)


def _sweep(plan: _Plan) -> Steps[Sweep]:
    whole = _Trial(plan, None)
    result = yield from whole.run()
    stops: list[Stop] = []
    for write in range(1, MOST_STOPS):
        trial = _Trial(plan, write)
        found = yield from trial.run()
        if not trial.was_stopped:
            return Sweep(result, whole.counts(), tuple(stops))
        if found != result:
            raise AssertionError(
                f"stopped at write {write}, {plan.workflow.name!r} returned {found!r}, and without a stop {result!r}: "
                "something that is not the same every time happens outside of tasks, or a task is not safe to repeat"
            )
        stops.append(Stop(write, trial.counts()))
    raise AssertionError(f"{plan.workflow.name!r} writes more than {MOST_STOPS} times: sweep over a smaller input")


@dataclass(slots=True)
class _Trial:
    plan: _Plan
    stop_at: int | None
    was_stopped: bool = False
    watch: Watch = field(default_factory=Watch)

    def counts(self) -> Mapping[str, int]:
        """How often each task was begun."""
        return Counter(key.name for key in self.watch.begun)

    def run(self) -> Steps[Any]:
        """Invoke, resume and answer until the workflow has returned."""
        if self.plan.fresh is not None:
            self.plan.fresh()
        saver, input = self.plan.storage(self.stop_at), self.plan.input
        for _ in range(MOST_LIVES):
            began, finished = len(self.watch.begun), saver.finished()
            stopped, ended = False, None
            try:
                ended = yield Invoke(self.plan.invocation(saver, self.watch, input))
            except Exception:
                if not saver.stopped:
                    raise
                saver = StoppingSaver(before=saver)
                self.was_stopped = stopped = True
            self._check_repeats(self.watch.begun[began:], finished)
            if not (stopped or isinstance(ended, Asked)):
                return ended
            input = self._next_input(saver)
        raise AssertionError(f"{self.plan.workflow.name!r} has not ended after {MOST_LIVES} attempts")

    def _check_repeats(self, begun: list[Key], finished: set[Key]) -> None:
        repeated = sorted(str(key) for key in begun if key in finished)
        if repeated:
            raise AssertionError(f"stopped at write {self.stop_at}, these ran although they had finished: {repeated}")

    def _next_input(self, saver: StoppingSaver) -> Any:
        """What to invoke with after a stop or a question."""
        run, questions = saver.stands()
        if run is None or (run.status == "running" and self.plan.how["durability"] == "exit"):
            return self.plan.input  # such a run cannot be resumed
        if run.status != "asked":
            return None
        if self.plan.answer is None:
            asked = [question.value for question in questions]
            raise AssertionError(f"{self.plan.workflow.name!r} asks {asked}: say what to answer with answer=")
        return Command(resume={question.id: self.plan.answer(question.value) for question in questions})
