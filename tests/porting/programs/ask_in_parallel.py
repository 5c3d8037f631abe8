"""Two tasks ask at once; both questions come out together and are answered by id."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt


@task
def confirm(what: str) -> str:
    return f"{what}: {interrupt(f'{what}?')}"


@entrypoint(checkpointer=InMemorySaver())
def both(_: str) -> list:
    futures = [confirm("tea"), confirm("milk")]
    return [future.result() for future in futures]


config = {"configurable": {"thread_id": "1"}}
questions = both.invoke("", config)["__interrupt__"]
answers = {question.id: f"yes to {question.value}" for question in questions}
end = both.invoke(Command(resume=answers), config)
if isinstance(end, dict):
    end = [question.value for question in end["__interrupt__"]]
seen = [sorted(question.value for question in questions), end]
expected = {
    "langgraph": [["tea?"], ["milk?"]],
    "durably": [["milk?", "tea?"], ["tea: yes to tea?", "milk: yes to milk?"]],
}
