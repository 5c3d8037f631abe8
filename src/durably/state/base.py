"""Which thread of which database is meant: what all operations on threads begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine.function import Function
from ..engine.options import Options, merge_configs, options_from
from ..engine.request import Request
from ..engine.rows import Head, encode_extra
from ..errors import ConfigError
from ..invocation import Config, Settings

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer

__all__ = ["Addressing", "config_of"]


class Addressing:
    """Finds the thread that an argument names."""

    _function: Function
    _settings: Settings

    def _storage(self) -> BaseCheckpointer:
        storage = self._settings.storage
        if storage is None:
            raise ConfigError(
                f"workflow {self._function.name!r} stores nothing, so its threads have no state: "
                "declare @entrypoint(checkpointer=...)"
            )
        return storage

    def _addressed(self, config: Config | None, thread_id: Any) -> tuple[BaseCheckpointer, Options]:
        storage = self._storage()
        options = options_from(merge_configs(self._settings.config, config), thread_id=thread_id)
        if options.thread_id is None:
            raise ConfigError('name the thread: {"configurable": {"thread_id": "1"}}, or thread_id="1"')
        return storage, options

    def _request(self, options: Options, run_id: str) -> Request:
        return Request(
            workflow=self._function.name,
            thread_id=str(options.thread_id),
            kind="input",
            answer=None,
            run_id=run_id,
            input=b"",
            head=Head(options.durability, extra=encode_extra(options.config)),
            checkpoint_id=options.checkpoint_id,
        )


def config_of(thread_id: str, checkpoint_id: str) -> dict[str, Any]:
    """A config that addresses a moment of a thread."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}
