"""What the chatbots need around their workflows: a model to talk to, the terminal, the command line."""

from .cli import main
from .talk import PATIENTLY, Guest, Messages, aside, ask, say

__all__ = ["PATIENTLY", "Guest", "Messages", "aside", "ask", "main", "say"]
