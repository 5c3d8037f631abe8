"""A generator function is refused."""

from langgraph.func import entrypoint


def numbers(n: int):
    yield n


try:
    entrypoint()(numbers)
    seen = "accepted"
except NotImplementedError:
    seen = "refused"
expected = "refused"
