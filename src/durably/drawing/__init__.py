"""Pictures of runs: `Drawing` is what ``workflow.draw(config)`` returns. Reads nothing; see `durably.state.picturing`."""

from typing import TYPE_CHECKING

from .._lazy import loader

if TYPE_CHECKING:
    from .facts import Call, RunFacts, Span, State
    from .picture import Drawing

__all__ = ["Call", "Drawing", "RunFacts", "Span", "State"]

__getattr__ = loader(__name__, {"facts": ("Call", "RunFacts", "Span", "State"), "picture": ("Drawing",)})
