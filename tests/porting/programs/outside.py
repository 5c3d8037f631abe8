"""A task called outside a run."""

from langgraph.func import task


@task
def double(x: int) -> int:
    return 2 * x


try:
    double(2)
    seen = "called"
except RuntimeError:
    seen = "refused"
expected = "refused"
