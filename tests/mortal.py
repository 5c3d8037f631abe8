"""Checkpointers that kill the process they are in. For programs that tests run in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from durably.checkpoint.base import BaseCheckpointer, Chunk, Work
from durably.checkpoint.postgres import PostgresSaver
from durably.checkpoint.sqlite import SqliteSaver


class Bomb:
    """Counts moments, and kills the process at one of them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.moments = 0

    def moment(self) -> None:
        """One of the moments at which the process may die."""
        self.moments += 1
        if self.moments == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal(BaseCheckpointer):
    """Gives the process a chance to die before and after every commit."""

    bomb: Bomb

    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        self.bomb.moment()
        results = super().transact(works, durable=durable)
        self.bomb.moment()
        return results

    def append(self, chunks: Sequence[Chunk], *, durable: bool = False) -> list[bool]:
        self.bomb.moment()
        kept = super().append(chunks, durable=durable)
        self.bomb.moment()
        return kept

    def session(self, *, durable: bool = False, is_async: bool = False) -> Any:
        session: Any = super().session(durable=durable, is_async=is_async)
        finish = session.finish

        def mortal(chunk: Chunk) -> bool:
            self.bomb.moment()
            kept: bool = finish(chunk)
            self.bomb.moment()
            return kept

        session.finish = mortal
        return session


class MortalSqlite(Mortal, SqliteSaver):
    """On a file."""


class MortalPostgres(Mortal, PostgresSaver):
    """On a server."""


def mortal_on(place: str, bomb: Bomb) -> Mortal:
    """A checkpointer that may kill the process, on a place as `savers` understands it."""
    kind, _, rest = place.partition(" ")
    saver: Mortal
    if kind == "postgres":
        schema, _, conninfo = rest.partition(" ")
        saver = MortalPostgres(conninfo, schema=schema)
    else:
        saver = MortalSqlite(place)
    saver.bomb = bomb
    return saver
