"""An answer to nothing, and to a question that does not exist."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.types import Command, interrupt


@entrypoint(checkpointer=InMemorySaver())
def ask(_: str) -> str:
    return interrupt("sure?")


def attempt(answer: object) -> object:
    try:
        end = ask.invoke(Command(resume=answer), config)
    except Exception as error:
        return type(error).__name__
    return "asks again" if isinstance(end, dict) else end


config = {"configurable": {"thread_id": "1"}}
ask.invoke("", config)
seen = [attempt({"0" * 32: "yes"}), attempt("yes"), attempt("no")]
expected = {
    "langgraph": ["asks again", "yes", "yes"],
    "durably": ["UnknownInterruptError", "yes", "UnknownInterruptError"],
}
