"""Pictures of runs: reads what a run has recorded, and has it drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import drawing
from ..checkpoint.base import RunRow, Transaction, Work
from ..checkpoint.records import decode_all
from ..engine.commit import Committer
from ..engine.rows import parse_checkpoint
from ..engine.steps import Steps, adrive, drive
from ..errors import ConfigError, EmptyInputError
from ..invocation import Config
from .base import Addressing
from .story import Story

if TYPE_CHECKING:
    from uuid import UUID

    from ..drawing import Drawing

__all__ = ["Picturing"]


class Picturing(Addressing):
    """What can be drawn of a workflow's threads."""

    def draw(self, config: Config | None = None, *, thread_id: str | UUID | None = None) -> Drawing:
        """A picture of a run: the calls it really made, when, and what became of them.

        Args:
            config: names the thread, and with ``checkpoint_id`` the run; by default its latest run.
            thread_id: names the thread instead.

        Returns:
            A `Drawing`: ``.svg`` is a timeline, ``.mermaid`` a flowchart, ``.save(path)`` writes either. A notebook shows it.

        Raises:
            EmptyInputError: the thread has never run.
            ConfigError: no thread is named, or there is no such checkpoint.

        >>> from durably import InMemorySaver, entrypoint, task
        >>> @task
        ... def square(x: int) -> int:
        ...     return x * x
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def fourth(x: int) -> int:
        ...     return square(square(x).result()).result()
        >>> fourth.invoke(3, thread_id="a")
        81
        >>> fourth.draw(thread_id="a")
        <Drawing of fourth, done, 2 calls>
        """
        return drive(self._drawn(config, thread_id))

    async def adraw(self, config: Config | None = None, *, thread_id: str | UUID | None = None) -> Drawing:
        """As `draw`, without blocking the running event loop."""
        return await adrive(self._drawn(config, thread_id))

    def _drawn(self, config: Config | None, thread_id: Any) -> Steps[Drawing]:
        storage, options = self._addressed(config, thread_id)
        name = str(options.thread_id)
        run, chunks = yield from Committer.of(storage).perform(_read(name, options.checkpoint_id))
        return drawing.Drawing(Story(run, decode_all(chunks), storage.serde).tell(name))


def _read(thread_id: str, checkpoint_id: str | None) -> Work:
    def work(transaction: Transaction) -> tuple[RunRow, list[bytes]]:
        opened = transaction.open(thread_id)
        run = opened.run
        if opened.thread is None or run is None:
            raise EmptyInputError(f"thread {thread_id!r} has never run, so there is nothing to draw")
        if checkpoint_id is not None:
            run = transaction.find_run(parse_checkpoint(checkpoint_id)[0])
            if run is None or run.thread_no != opened.thread.no:
                raise ConfigError(f"thread {thread_id!r} has no checkpoint {checkpoint_id!r}")
        return run, transaction.records(run.no)

    return work
