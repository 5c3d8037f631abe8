"""A task calls tasks."""

from langgraph.func import entrypoint, task


@task
def leaf(x: int) -> int:
    return x + 1


@task
def branch(x: int) -> int:
    leaves = [leaf(x), leaf(x + 10)]
    return sum(future.result() for future in leaves)


@entrypoint()
def tree(x: int) -> int:
    branches = [branch(x), branch(x + 100)]
    return sum(future.result() for future in branches)


seen = tree.invoke(0)
expected = 224
