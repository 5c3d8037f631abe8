"""Each task's result as it comes, then the workflow's."""

from langgraph.func import entrypoint, task


@task
def double(x: int) -> int:
    return 2 * x


@entrypoint()
def quadruple(x: int) -> int:
    return double(double(x).result()).result()


seen = list(quadruple.stream(1, stream_mode="updates"))
expected = [{"double": 2}, {"double": 4}, {"quadruple": 4}]
