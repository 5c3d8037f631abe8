"""How an attempt comes by its run: asked for, taken because it was due, or accepted for others to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ..errors import ConfigError, EncodeError, GraphDrained, ThreadBusy
from .admission import admit
from .commit import Committer
from .identity import new_run_id, run_place
from .owner import Owner
from .request import Admitted, Busy, Existing, Request
from .rows import Head, encode_extra
from .steps import Pause, Steps

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer, RunRow, Work
    from .attempt import Invocation

__all__ = ["encoded", "submit", "taken"]


def taken(invocation: Invocation, checkpointer: BaseCheckpointer, name: str) -> Steps[Admitted | Existing]:
    """The run that an attempt goes on with, held by this process.

    Args:
        invocation: what asks for it.
        checkpointer: where it is stored.
        name: names the request, and the run if it is a new one.
    """
    if invocation.claim is not None:
        return invocation.claim.admitted
    request = _request(invocation, checkpointer, name)
    admission = admit(request, Owner.of(Committer.of(checkpointer)), checkpointer.serde)
    return (yield from _admitted(invocation, checkpointer, admission))


def submit(invocation: Invocation, checkpointer: BaseCheckpointer) -> Steps[RunRow]:
    """Have a run accepted that is left to whoever looks for due ones; returns it.

    Raises:
        ConfigError: it would not be stored before its end.
        ThreadBusy: its thread is busy, and the workflow does not queue.
    """
    options = invocation.options
    if options.durability == "exit":
        raise ConfigError(
            "durability 'exit' writes a run at its end, and a submitted run has to outlive its process: give 'async' or "
            "'sync'"
        )
    request = replace(_request(invocation, checkpointer, new_run_id()), submitted=True)
    committer = Committer.of(checkpointer)
    work = admit(request, Owner.of(committer), checkpointer.serde)
    accepted = yield from committer.perform(work, durable=options.durability == "sync")
    return accepted.run  # type: ignore[no-any-return]


def _admitted(invocation: Invocation, checkpointer: BaseCheckpointer, admission: Work) -> Steps[Admitted | Existing]:
    """Wait for the thread as long as that is what the workflow does when it is busy."""
    options = invocation.options
    place = (id(checkpointer), str(options.thread_id))
    if place in invocation.env.holding:
        raise ThreadBusy(
            f"thread {options.thread_id!r} is held by the very run that asks for it, which would wait for ever: "
            "use another thread, or leave the thread id out to make the workflow a part of the run"
        )
    if options.control.drain_requested:
        raise GraphDrained(f"no new attempt starts: a drain was requested ({options.control.drain_reason})")
    pause = 0.001
    while True:
        answer = yield from Committer.of(checkpointer).perform(admission, durable=options.durability == "sync")
        if not isinstance(answer, Busy):
            return answer  # type: ignore[no-any-return]
        admission = answer.again
        yield Pause(pause)
        pause = min(0.05, pause * 1.5)


def _request(invocation: Invocation, checkpointer: BaseCheckpointer, run_id: str) -> Request:
    options, function = invocation.options, invocation.function
    assert options.thread_id is not None
    data = b""
    if invocation.kind == "input":
        place = run_place(run_id, "input")
        data = encoded(checkpointer, invocation.value, place, f"the input of workflow {function.name!r}")
    return Request(
        workflow=function.name,
        thread_id=options.thread_id,
        kind=invocation.kind,
        answer=invocation.value,
        run_id=run_id,
        input=data,
        head=Head(options.durability, extra=encode_extra(options.config), durable_stream=options.durable_stream),
        on_busy=invocation.on_busy,
        key=options.key,
        checkpoint_id=options.checkpoint_id,
        fork=invocation.fork,
        moments=invocation.moments,
        goes_on=invocation.goes_on,
    )


def encoded(checkpointer: BaseCheckpointer, value: Any, place: bytes, what: str) -> bytes:
    """A value as it is stored; an error says what could not be."""
    try:
        return checkpointer.serde.dumps(value, place)
    except EncodeError as error:
        raise EncodeError(f"{what} cannot be stored: {error}", error.path) from None
