"""Changing threads from outside: what they return and save, and the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from ..checkpoint.base import Work
from ..engine.commit import Committer
from ..engine.function import FinalValue
from ..engine.identity import new_run_id, run_place
from ..engine.lifecycle import Place, begin_update, cancel, unless_changed, update
from ..engine.owner import Owner
from ..engine.request import Request
from ..engine.rows import END, START, checkpoint_of, head_of
from ..engine.steps import Do, Steps, adrive, drive
from ..engine.unfolding import Unfolded, find_unfolded
from ..errors import ConfigError
from ..invocation import Config
from .base import Addressing, config_of

if TYPE_CHECKING:
    from uuid import UUID

    from ..checkpoint.base import BaseCheckpointer
    from ..engine.options import Options
    from ..moments import Moments, Step
    from ..serde import Serializer

__all__ = ["Changing", "StateUpdate"]


class StateUpdate(NamedTuple):
    """One update for `Changing.bulk_update_state`."""

    values: Any
    as_node: str | None = None


class Changing(Addressing):
    """What can be written to a workflow's threads without running it."""

    def update_state(
        self, config: Config | None, values: Any, as_node: str | None = None, *, thread_id: str | UUID | None = None
    ) -> dict[str, Any]:
        """Set what a thread returns and what its next run sees as ``previous``.

        Args:
            config: names the thread; with ``checkpoint_id`` the thread is forked at that moment.
            values: the value; an ``entrypoint.final`` sets what is returned and what is saved apart.
            as_node: of a graph, the node that is taken to have written the values; what follows it runs next. By default the
                one that ran last.
            thread_id: names the thread instead.

        Returns:
            A config that addresses the new checkpoint.

        Raises:
            ThreadBusy: a run holds the thread.
        """
        return drive(self._update(config, thread_id, StateUpdate(values, as_node)))

    async def aupdate_state(
        self, config: Config | None, values: Any, as_node: str | None = None, *, thread_id: str | UUID | None = None
    ) -> dict[str, Any]:
        """As `update_state`, without blocking the running event loop."""
        return await adrive(self._update(config, thread_id, StateUpdate(values, as_node)))

    def bulk_update_state(self, config: Config, supersteps: Sequence[Sequence[StateUpdate]]) -> dict[str, Any]:
        """Several updates one after the other; returns a config that addresses the last checkpoint."""
        return drive(self._bulk_update(config, supersteps))

    async def abulk_update_state(self, config: Config, supersteps: Sequence[Sequence[StateUpdate]]) -> dict[str, Any]:
        """As `bulk_update_state`, without blocking the running event loop."""
        return await adrive(self._bulk_update(config, supersteps))

    def _bulk_update(self, config: Config, supersteps: Sequence[Sequence[StateUpdate]]) -> Steps[dict[str, Any]]:
        updates = [change for superstep in supersteps for change in superstep]
        if not updates:
            raise ConfigError("bulk_update_state() was given no updates")
        return (yield from self._update(config, None, *(StateUpdate(*change) for change in updates)))

    def _update(self, config: Config | None, thread_id: Any, *updates: StateUpdate) -> Steps[dict[str, Any]]:
        """All of them in one transaction, each after the one before it."""
        storage, options = self._addressed(config, thread_id)
        if self._settings.moments is not None:
            for update in updates:
                config = yield from self._update_inside(self._settings.moments, storage, options, update)
                options = replace(options, checkpoint_id=config["configurable"]["checkpoint_id"])
            return dict(config or {})
        committer = Committer.of(storage)
        owner, works, checkpoint_id = Owner.of(committer), list[Work](), options.checkpoint_id
        for value, _ in updates:
            request = replace(self._request(options, new_run_id()), checkpoint_id=checkpoint_id)
            works.append(_update_to(value, request, owner, storage.serde))
            checkpoint_id = checkpoint_of(request.run_id, END)
        yield from committer.perform(lambda transaction: [work(transaction) for work in works])
        return config_of(str(options.thread_id), str(checkpoint_id))

    def _update_inside(
        self, moments: Moments, storage: BaseCheckpointer, options: Options, update: StateUpdate
    ) -> Steps[dict[str, Any]]:
        """An update of a moment inside a run: a run that begins there, or that is done where nothing is left to run."""
        serde, committer, thread_id = storage.serde, Committer.of(storage), str(options.thread_id)
        found = yield from committer.perform(find_unfolded(thread_id, options.checkpoint_id, serde, inside=True))
        step, place = (None, Place()) if found is None else _behind(found, moments, serde)
        changed = yield Do(lambda: moments.changed(step, update.values, update.as_node), inline=False)
        request = self._request(options, new_run_id())
        if changed.start is None:
            final = FinalValue(changed.returned, changed.values)
            work = _update_to(final, request, Owner.of(committer), serde, place)
        else:
            data = serde.dumps(changed.start, run_place(request.run_id, "input"))
            work = begin_update(replace(request, input=data), Owner.of(committer), serde, place)
        yield from committer.perform(unless_changed(work, thread_id, None if found is None else found.run))
        return config_of(thread_id, checkpoint_of(request.run_id, END if changed.start is None else START))

    def cancel(self, config: Config | None = None, *, thread_id: str | UUID | None = None) -> None:
        """End a thread's current run, whoever runs it: it can write nothing any more, and is not resumed.

        Raises:
            EmptyInputError: the thread has no open run.
        """
        drive(self._cancel(config, thread_id))

    async def acancel(self, config: Config | None = None, *, thread_id: str | UUID | None = None) -> None:
        """As `cancel`, without blocking the running event loop."""
        await adrive(self._cancel(config, thread_id))

    def _cancel(self, config: Config | None, thread_id: Any) -> Steps[None]:
        storage, options = self._addressed(config, thread_id)
        committer = Committer.of(storage)
        owner = Owner.of(committer)
        request = self._request(options, "")
        thread_no, fence = yield from committer.perform(cancel(request, owner, storage.serde))
        owner.stop_older(thread_no, fence)


def _behind(found: Unfolded, moments: Moments, serde: Serializer) -> tuple[Step, Place]:
    """A moment of a run, and the place behind it."""
    step, index = found.meant(moments, serde)
    return step, Place(found.address(index), head_of(found.run).step + index + 1)


def _update_to(value: Any, request: Request, owner: Owner, serde: Serializer, place: Place | None = None) -> Work:
    returned, save = (value.value, value.save) if isinstance(value, FinalValue) else (value, value)
    saved = serde.dumps(save, run_place(request.run_id, "saved"))
    apart = None if save is returned else serde.dumps(returned, run_place(request.run_id, "value"))
    return update(request, owner, serde, apart, saved, place)
