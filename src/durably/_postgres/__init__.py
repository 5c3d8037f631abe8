"""One PostgreSQL database, reached with care: what the checkpointer, the store and others share."""

from .blobs import Blobs
from .database import Database, Options
from .sources import Source

__all__ = ["Blobs", "Database", "Options", "Source"]
