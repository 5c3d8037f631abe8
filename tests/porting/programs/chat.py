"""A chat history merged with `add_messages` and kept as `previous`."""

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph.message import add_messages


@task
def answer(messages: list) -> AIMessage:
    return AIMessage(f"answer {len(messages)}")


@entrypoint(checkpointer=InMemorySaver())
def chat(said: list, *, previous: list | None = None) -> entrypoint.final[str, list]:
    messages = add_messages(previous or [], said)
    reply = answer(messages).result()
    return entrypoint.final(value=reply.content, save=add_messages(messages, [reply]))


config = {"configurable": {"thread_id": "1"}}
seen = [chat.invoke([HumanMessage("hi")], config), chat.invoke([HumanMessage("and?")], config)]
expected = ["answer 1", "answer 3"]
