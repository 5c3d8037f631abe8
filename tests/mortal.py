"""Checkpointers that kill the process they are in. For programs that tests run in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from durably.checkpoint.base import BaseCheckpointer, Chunk, Work


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
