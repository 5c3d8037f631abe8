"""One body at a time: a body that waits for its task holds no slot."""
# Under LangGraph this program hangs.

from langgraph.func import entrypoint, task


@task
def leaf(x: int) -> int:
    return x + 1


@task
def branch(x: int) -> int:
    return leaf(x).result() + leaf(x + 1).result()


@entrypoint()
def tree(x: int) -> int:
    return sum(future.result() for future in [branch(x), branch(x + 10)])


seen = tree.invoke(0, {"max_concurrency": 1})
expected = 26
