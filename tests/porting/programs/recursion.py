"""A task that calls itself."""
# Under LangGraph this program hangs.

from langgraph.func import entrypoint, task


@task
def down(n: int) -> int:
    return 0 if n == 0 else 1 + down(n - 1).result()


@entrypoint()
def deep(n: int) -> int:
    return down(n).result()


seen = deep.invoke(200)
expected = 200
