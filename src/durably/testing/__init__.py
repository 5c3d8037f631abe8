"""What users need to test their own workflows, and the suite that every checkpointer passes.

>>> from durably import entrypoint, task
>>> from durably.testing import crash_everywhere, stub
>>> @task
... def ask_model(prompt: str) -> str:
...     raise NotImplementedError("this costs money")
>>> @entrypoint()
... def summarise(texts: list[str]) -> list[str]:
...     return [summary.result() for summary in [ask_model(text) for text in texts]]
>>> with stub(ask_model, returning="short"):
...     crash_everywhere(summarise, ["one", "two"]).result
['short', 'short']
"""

from __future__ import annotations

from .clocks import VirtualClock, virtual_clock
from .conformance import CheckpointerConformance
from .crashes import Stop, Sweep, acrash_everywhere, crash_everywhere
from .histories import Replay, aexport_history, areplay, export_history, import_history, replay
from .replays import always_replay
from .stubs import Call, Stub, stub

__all__ = [
    "Call",
    "CheckpointerConformance",
    "Replay",
    "Stop",
    "Stub",
    "Sweep",
    "VirtualClock",
    "acrash_everywhere",
    "aexport_history",
    "always_replay",
    "areplay",
    "crash_everywhere",
    "export_history",
    "import_history",
    "replay",
    "stub",
    "virtual_clock",
]
