"""A typed context for the run, in the workflow and in a task."""

from dataclasses import dataclass

from langgraph.func import entrypoint, task
from langgraph.runtime import Runtime, get_runtime


@dataclass
class Context:
    user: str


@task
def who() -> str:
    return get_runtime(Context).context.user


@entrypoint(context_schema=Context)
def greet(greeting: str, *, runtime: Runtime[Context]) -> str:
    return f"{greeting}, {runtime.context.user} or {who().result()}"


seen = [greet.invoke("Hello", context=Context("Ada")), greet.invoke("Hi", context={"user": "Bob"})]
expected = ["Hello, Ada or Ada", "Hi, Bob or Bob"]
