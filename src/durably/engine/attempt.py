"""One attempt from the first read to the last write: admit, perform, settle."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from ..checkpoint.heads import outcome_of
from ..checkpoint.records import memory_place
from ..checkpoint.saved import Saved, Stored, stored_as
from ..errors import (
    DurablyError,
    EncodeError,
    GraphDrained,
    GraphInterrupt,
    NodeCancelledError,
    OutsideRunError,
    Stop,
    Superseded,
)
from ..moments import Moments
from ..serde import TypedSerializer, encode_exception
from ..types import MISSING, Command
from . import announce
from .call import Env
from .commit import Committer
from .ending import Asked, result_of
from .failures import tried_again
from .function import FinalValue, Function
from .identity import new_run_id, run_place
from .journal import Journal
from .leash import Leash
from .lifecycle import settle
from .log import Log
from .loops import LoopHost
from .options import Options
from .owner import Owner
from .perform import perform
from .request import Admitted, Claim, Ending, Existing, Fork
from .rows import Outcome, as_started, returned_by
from .run import Again, Run, run_class
from .steps import Do, Steps, clock
from .taking import encoded, taken
from .unfolding import state_of

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer, RunRow
    from ..checkpoint.records import Record
    from .call import TaskFuture

__all__ = ["Invocation", "attempt"]

PLAIN = TypedSerializer()
AGAIN: Final = object()
"""What a pass through the program came to that is followed by another one."""
STOPPED = (GraphDrained, NodeCancelledError)
"""Somebody ended the attempt from outside; nothing is wrong with the run."""
CANCELLED = (asyncio.CancelledError, CancelledError)
logger = getLogger("durably")


class Invocation(msgspec.Struct, frozen=True):
    """Everything that one invocation of a workflow consists of.

    Args:
        function: the workflow's.
        checkpointer: where its runs are stored, if anywhere.
        strict: whether replay refuses differences.
        options: what the caller asked for.
        env: what its body sees; ``previous`` is filled in when it is known.
        kind: ``input``, ``resume``, ``answer`` or ``due``.
        value: the input or the answer.
        leash: stops the attempt from outside.
        on_busy: what to do when the thread is held.
        fork: how to fork the run that the config's checkpoint names.
        moments: tells the moments inside the workflow's runs, None where it has none.
        claim: the due run that this goes on with; it leaves memory where it would wait for long.
    """

    function: Function
    checkpointer: BaseCheckpointer | None
    strict: bool
    options: Options
    env: Env
    kind: str
    value: Any
    leash: Leash
    on_busy: str = "reject"
    fork: Fork | None = None
    moments: Moments | None = None
    claim: Claim | None = None

    @property
    def goes_on(self) -> bool:
        """Whether the input is a command, which belongs to how the thread stands now."""
        return self.kind == "input" and self.moments is not None and isinstance(self.value, Command)


def attempt(invocation: Invocation, host: LoopHost | None) -> Steps[Any]:
    """Run a workflow once.

    Args:
        invocation: what to run.
        host: the event loop for its async bodies, None for the library's own.

    Returns:
        What the workflow returned, or `Asked`.

    Raises:
        BaseException: whatever ended the attempt.
    """
    if invocation.checkpointer is None:
        run = Run(new_run_id(), invocation.options, journal=Journal(), log=None, serde=PLAIN, host=host)
        root = run.root(invocation.function, invocation.value, invocation.env)
        try:
            value = _returned((yield from _performed(root, invocation)))
        except Exception:
            yield from _let_go(run)  # nothing is recorded, so there is no going on with it
            raise
        yield from _let_go(run)
        announce.ended(root, value)
        return value
    return _returned((yield from _recorded(invocation, invocation.checkpointer, host)))


def _returned(result: Any) -> Any:
    return result.value if isinstance(result, FinalValue) else result


def _performed(root: TaskFuture[Any], invocation: Invocation) -> Steps[Any]:
    """Run the body to its end: a value, a `FinalValue`, `Asked`, or an exception."""
    run = root.run
    announce.started(root)
    invocation.leash.attach(root)
    run.scheduler.open()
    try:
        yield from perform(root)
    finally:
        run.scheduler.close()
        run.stop(OutsideRunError(f"{root.describe()} has ended: what it left behind can make no more calls"))
    for call in run.failed:
        if not call.seen:
            logger.error("%s failed, and nobody asked for its result", call.describe(), exc_info=call.failed)
    error = asyncio.CancelledError() if root.cancelled() else root.failed
    if isinstance(error, CANCELLED) and invocation.leash.reason is not None:
        raise invocation.leash.reason
    if isinstance(error, GraphInterrupt):
        return Asked(tuple(run.questions.values()), root.said, _wakes(run) if run.napping else None)
    if isinstance(error, Stop):
        if isinstance(error.reason, Again):
            return AGAIN
        raise error.reason
    if error is not None:
        announce.failed(root, error)
        raise error
    return root.result()


def _wakes(run: Run) -> float | None:
    """When a run goes on by itself that has left memory: at once, where something was recorded while it left."""
    log, naps = run.recorder.log, run.naps
    return naps.due if naps.due is None or log is None or log.calls == naps.recorded else clock().now()


def _recorded(invocation: Invocation, checkpointer: BaseCheckpointer, host: LoopHost | None) -> Steps[Any]:
    owner = Owner.of(Committer.of(checkpointer))
    name = new_run_id() if invocation.claim is None else invocation.claim.request
    try:
        admitted = yield from taken(invocation, checkpointer, name)
        if isinstance(admitted, Existing):
            value = yield from result_of(admitted.run, str(invocation.options.thread_id), checkpointer)
            announce.found(invocation.env, invocation.function.name, value)
            return value
        fence = (admitted.thread.no, admitted.thread.fence)
        owner.began(*fence, admitted.thread.since, invocation.leash)
    finally:
        owner.took(name)
    try:
        return (yield from _held(invocation, checkpointer, admitted, host))
    finally:
        owner.ended(*fence)


def _held(
    invocation: Invocation, checkpointer: BaseCheckpointer, admitted: Admitted, host: LoopHost | None
) -> Steps[Any]:
    """The part of an attempt during which it holds its thread."""
    thread, row = admitted.thread, admitted.run
    options = invocation.options if _is_new(invocation, row) else as_started(invocation.options, row)
    committer = Committer.of(checkpointer)
    log = Log(committer, (thread.no, thread.fence, row.no), options.durability)
    durable = options.durability == "sync"
    committer.bells.ring(row.no)
    make = partial(_run, invocation, checkpointer, admitted, options, log, host)
    run = make(admitted.records)
    try:
        holding = invocation.env.holding | {(id(checkpointer), thread.thread_id)}
        env = replace(invocation.env, config=options.config, previous=_previous(admitted), holding=holding)
        if invocation.kind != "input" and not invocation.function.says_values and env.hears("values"):
            env.emit("values", _value_before(admitted, checkpointer))
        yield from _checkpoint(admitted, env, checkpointer, invocation.moments)
        root = run.root(invocation.function, _input(invocation, admitted, checkpointer), env)
        result = yield from _performed(root, invocation)
        while result is AGAIN or not run.is_last:
            run = make((yield from log.reread()))
            root = run.root(invocation.function, _stored_input(admitted, checkpointer), _renewed(env, admitted))
            result = yield from _performed(root, invocation)
        ending = _ended(result, invocation, run, admitted, checkpointer)
    except (GeneratorExit, Superseded):
        raise  # nobody is left to wait for a write, or nothing may be written
    except BaseException as error:
        try:
            yield from _settle(committer, log, admitted, _failed(error, run, invocation), durable=durable)
        except DurablyError as trouble:
            error.add_note(f"Moreover the end of the run could not be recorded: {trouble}")
        raise
    yield from _settle(committer, log, admitted, ending, durable=durable)
    announce.ended(root, _returned(result))
    if ending.status == "done":
        yield from _let_go(run)
        yield from _checkpoint(admitted, env, checkpointer, invocation.moments)
    return result


def _run(
    invocation: Invocation,
    checkpointer: BaseCheckpointer,
    admitted: Admitted,
    options: Options,
    log: Log,
    host: LoopHost | None,
    records: list[Record],
) -> Run:
    """One pass through the program."""
    run = run_class()(
        admitted.run.run_id,
        options,
        journal=Journal(records, strict=invocation.strict),
        log=log,
        serde=checkpointer.serde,
        host=host,
        memory=_memory(admitted.saved, checkpointer),
    )
    run.leaves = invocation.claim is not None
    if (admitted.run.attempt > 1 or log.calls) and invocation.env.store is not None:
        run.stores.append(invocation.env.store)  # a pass before this one may have written to it
    return run


def _previous(admitted: Admitted) -> Any:
    return MISSING if admitted.saved is None else admitted.saved.value()


def _renewed(env: Env, admitted: Admitted) -> Env:
    """What another pass is given: nothing that one before it may have changed."""
    return replace(env, previous=_previous(admitted))


def _value_before(admitted: Admitted, checkpointer: BaseCheckpointer) -> Any:
    """What the thread's last run returned, None on its first."""
    return None if admitted.saved is None else returned_by(admitted.saved.resolved(), checkpointer.serde)


def _checkpoint(admitted: Admitted, env: Env, checkpointer: BaseCheckpointer, moments: Moments | None) -> Steps[None]:
    """Tell whoever wants to know how the thread stands now."""
    if env.hears("checkpoints"):
        announce.snapshot(env, (yield from state_of(admitted.thread.thread_id, None, checkpointer, moments)))


def _let_go(run: Run) -> Steps[None]:
    """The run is over: tell the stores, which remember its writes as long as one of them may be tried again."""
    for store in run.stores:
        try:
            yield Do(partial(store.forget_once, run.run_id), inline=store.inline)
        except Exception:  # what it remembers takes space, and does no harm
            logger.warning("a store was not told that run %s is over", run.run_id, exc_info=True)


def _settle(committer: Committer, log: Log, admitted: Admitted, ending: Ending, *, durable: bool) -> Steps[None]:
    committer.note(log)
    yield from committer.perform(settle(admitted, ending), durable=durable)
    committer.bells.ring(admitted.run.no)
    if log.error is not None and log.written < log.appended:
        raise log.error


def _is_new(invocation: Invocation, run: RunRow) -> bool:
    """Whether this invocation has made the run, and not found it under its idempotency key."""
    return invocation.kind == "input" and run.attempt == 1


def _input(invocation: Invocation, admitted: Admitted, checkpointer: BaseCheckpointer) -> Any:
    inside = invocation.goes_on or (invocation.moments is not None and invocation.options.checkpoint_id is not None)
    if _is_new(invocation, admitted.run) and not inside:  # a run that begins inside another has an input of its own
        return invocation.value
    return _stored_input(admitted, checkpointer)


def _stored_input(admitted: Admitted, checkpointer: BaseCheckpointer) -> Any:
    run = admitted.run
    return checkpointer.serde.loads(run.input, run_place(run.run_id, "input"))


def _stored(checkpointer: BaseCheckpointer, value: Any, admitted: Admitted, what: str) -> Stored:
    try:
        return stored_as(value, admitted.run, admitted.saved, checkpointer.serde)
    except EncodeError as error:
        raise EncodeError(f"{what} cannot be stored: {error}", error.path) from None


def _ended(result: Any, invocation: Invocation, run: Run, admitted: Admitted, checkpointer: BaseCheckpointer) -> Ending:
    if isinstance(result, Asked):
        outcome = Outcome(paused=tuple(run.paused)) if run.paused else None
        return Ending("sleeping" if result.is_asleep and not run.paused else "asked", outcome, due=result.due)
    name = f"workflow {invocation.function.name!r}"
    value, save = (result.value, result.save) if isinstance(result, FinalValue) else (result, result)
    stored = _stored(checkpointer, save, admitted, f"what {name} saves")
    returned = None
    if save is not value:
        returned = encoded(checkpointer, value, run_place(run.run_id, "value"), f"what {name} returned")
    memory = {
        path: encoded(checkpointer, saved, memory_place(run.run_id, path), f"what workflow {path!r} saves")
        for path, saved in run.memory.items()
    }
    steps = result.steps if isinstance(result, FinalValue) else 1
    return Ending("done", Outcome(returned, memory=memory, steps=steps), stored)


def _memory(saved: Saved | None, checkpointer: BaseCheckpointer) -> dict[str, Any]:
    """What nested workflows saved up to the run that this one is based on."""
    if saved is None:
        return {}
    run_id = saved.run.run_id
    return {
        path: checkpointer.serde.loads(data, memory_place(run_id, path))
        for path, data in outcome_of(saved.run).memory.items()
    }


def _failed(error: BaseException, run: Run, invocation: Invocation) -> Ending:
    data = run.recorder.serde.dumps(encode_exception(error), run_place(run.run_id, "error"))
    again = tuple((key.scope, key.name, key.n) for key in tried_again(error, run.failed))
    stopped = isinstance(error, STOPPED) or not isinstance(error, Exception)
    handed_back = invocation.claim is not None and isinstance(error, GraphDrained)
    due = clock().now() if handed_back else None
    return Ending("stopped" if stopped else "failed", Outcome(error=data, again=again), due=due)
