"""What a workflow can do with its threads beside running on them: look, change, go back, take over."""

from .changing import Changing, StateUpdate
from .following import Following
from .forking import Forking
from .picturing import Picturing
from .reading import Reading
from .recovery import Recovery

__all__ = ["StateUpdate", "Threads"]


class Threads(Reading, Picturing, Changing, Forking, Following, Recovery):
    """The threads of a workflow. A base of `durably.workflow.Workflow`."""
