"""A task that nobody asks for finishes before the workflow does."""

from langgraph.func import entrypoint, task

calls = []


@task
def log(text: str) -> None:
    calls.append(text)


@entrypoint()
def work(x: int) -> int:
    log(f"working on {x}")
    return x


seen = [work.invoke(1), calls]
expected = [1, ["working on 1"]]
