"""Threads and runs in a PostgreSQL database, shared by any number of processes on any number of machines."""

from .backend import PostgresSaver

__all__ = ["PostgresSaver"]
