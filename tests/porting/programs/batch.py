"""Several inputs at once."""

from langgraph.func import entrypoint, task


@task
def double(x: int) -> int:
    return 2 * x


@entrypoint()
def work(x: int) -> int:
    return double(x).result() + 1


seen = work.batch([1, 2, 3])
expected = [3, 5, 7]
