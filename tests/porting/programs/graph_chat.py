"""A chat as a graph: messages are merged, and remembered by the thread."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph


def answer(state: MessagesState):
    return {"messages": [("ai", f"I have read {len(state['messages'])}")]}


builder = StateGraph(MessagesState)
builder.add_node(answer)
builder.add_edge(START, "answer")
builder.add_edge("answer", END)
graph = builder.compile(checkpointer=InMemorySaver())

config = {"configurable": {"thread_id": "1"}}
graph.invoke({"messages": [{"role": "user", "content": "Hi"}]}, config)
result = graph.invoke({"messages": [("user", "Bye")]}, config)
seen = [m["content"] if isinstance(m, dict) else m.content for m in result["messages"]]
expected = ["Hi", "I have read 1", "Bye", "I have read 3"]
