"""A task's exception reaches the workflow, and the caller, as it is."""

from langgraph.func import entrypoint, task


class Broken(Exception):
    pass


@task
def fail() -> None:
    raise Broken("no", 2)


@entrypoint()
def work(catch: bool) -> str:
    try:
        fail().result()
    except Broken as error:
        if catch:
            return f"caught {error.args}"
        raise
    return "no error"


seen = [work.invoke(True)]
try:
    work.invoke(False)
except Broken as error:
    seen.append(error.args)
expected = ["caught ('no', 2)", ("no", 2)]
