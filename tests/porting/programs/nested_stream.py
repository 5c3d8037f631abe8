"""The updates of a workflow that calls another."""

from langgraph.func import entrypoint, task


@task
def double(x: int) -> int:
    return 2 * x


@entrypoint()
def inner(x: int) -> int:
    return double(x).result()


@entrypoint()
def outer(x: int) -> int:
    return inner.invoke(x) + 1


seen = [list(outer.stream(1)), [(len(ns), chunk) for ns, chunk in outer.stream(1, subgraphs=True)]]
expected = {
    "langgraph": [[{"outer": 3}], [(1, {"double": 2}), (1, {"inner": 2}), (0, {"outer": 3})]],
    "durably": [[{"inner": 2}, {"outer": 3}], [(1, {"double": 2}), (0, {"inner": 2}), (0, {"outer": 3})]],
}
