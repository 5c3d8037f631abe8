"""One PostgreSQL database, reached with care: what the checkpointer, the store and others share."""

from .database import Database, Options
from .sources import Source

__all__ = ["Database", "Options", "Source"]
