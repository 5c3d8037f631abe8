"""An agent: a model, its tools side by side, and a person who is asked before one of them."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

TOOLS = {"weather": lambda place: f"sunny in {place}", "delete": lambda name: f"{name} is gone"}
calls = []


@task
def model(messages: list) -> dict:
    calls.append("model")
    if len(messages) == 1:
        return {"calls": [("weather", "Rome"), ("delete", "notes")]}
    return {"text": " and ".join(messages[-2:])}


@task
def use(tool: str, argument: str) -> str:
    if tool == "delete" and interrupt(f"delete {argument}?") != "yes":
        return f"{argument} stays"
    calls.append(tool)
    return TOOLS[tool](argument)


@entrypoint(checkpointer=InMemorySaver())
def agent(question: str) -> str:
    messages = [question]
    while "calls" in (reply := model(messages).result()):
        futures = [use(*call) for call in reply["calls"]]
        messages += [future.result() for future in futures]
    return reply["text"]


config = {"configurable": {"thread_id": "1"}}
asked = agent.invoke("Tidy up", config)
seen = [asked["__interrupt__"][0].value, agent.invoke(Command(resume="yes"), config), calls]
expected = ["delete notes?", "sunny in Rome and notes is gone", ["model", "weather", "delete", "model"]]
