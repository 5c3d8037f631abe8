"""Results shared across runs: a cached task returns what an earlier run computed."""

from .base import BaseCache

__all__ = ["BaseCache"]
