"""Several futures are made before the first is asked for; the bodies overlap."""

import threading

from langgraph.func import entrypoint, task

together = threading.Barrier(3)


@task
def meet(name: str) -> str:
    together.wait(timeout=30)
    return name.upper()


@entrypoint()
def everybody(names: list) -> list:
    futures = [meet(name) for name in names]
    return [future.result() for future in futures]


seen = everybody.invoke(["ann", "bob", "cy"])
expected = ["ANN", "BOB", "CY"]
