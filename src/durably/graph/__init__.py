"""Graphs: nodes that read a common state and update it, on the same engine as functions.

>>> from typing import TypedDict
>>> class State(TypedDict):
...     topic: str
...     joke: str
>>> def tell(state: State) -> dict:
...     return {"joke": f"A {state['topic']} walks into a bar"}
>>> graph = StateGraph(State).add_node(tell).add_edge(START, "tell").add_edge("tell", END).compile()
>>> graph.invoke({"topic": "bug"})
{'topic': 'bug', 'joke': 'A bug walks into a bar'}
"""

from ..constants import END, START
from .message import MessagesState, add_messages
from .state import CompiledStateGraph, StateGraph

__all__ = ["END", "START", "CompiledStateGraph", "MessagesState", "StateGraph", "add_messages"]
