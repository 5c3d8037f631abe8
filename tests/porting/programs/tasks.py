"""Tasks give futures; two of them run one after the other."""

from langgraph.func import entrypoint, task


@task
def double(x: int) -> int:
    return 2 * x


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@entrypoint()
def compute(x: int) -> dict:
    doubled = double(x)
    total = add(doubled.result(), b=5).result()
    return {"total": total, "default": add(a=1).result(), "done": doubled.done()}


seen = compute.invoke(4)
expected = {"total": 13, "default": 2, "done": True}
