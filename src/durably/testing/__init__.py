"""What one needs to test what stands on this library: for now, the suite that every checkpointer passes.

>>> from durably.checkpoint.memory import InMemorySaver
>>> from durably.testing import CheckpointerConformance
>>> class TestMemory(CheckpointerConformance):
...     def make(self):
...         return InMemorySaver()
>>> TestMemory().test_a_stale_fence_appends_nothing()
"""

from __future__ import annotations

from .conformance import CheckpointerConformance

__all__ = ["CheckpointerConformance"]
