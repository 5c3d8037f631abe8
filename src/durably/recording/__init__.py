"""Streams of model clients, recorded: `record`."""

from .protocols import MessageChunk
from .record import Recording, record

__all__ = ["MessageChunk", "Recording", "record"]
