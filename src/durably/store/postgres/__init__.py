"""A store in a PostgreSQL database, shared by any number of processes on any number of machines."""

from .backend import PostgresStore

__all__ = ["PostgresStore"]
