"""The standard library's `wait` and `as_completed` take the futures."""

from concurrent.futures import as_completed, wait

from langgraph.func import entrypoint, task


@task
def double(x: int) -> int:
    return 2 * x


@entrypoint()
def several(numbers: list) -> list:
    futures = [double(number) for number in numbers]
    done, pending = wait(futures)
    return [len(done), len(pending), sorted(future.result() for future in as_completed(futures))]


seen = several.invoke([1, 2, 3])
expected = [3, 0, [2, 4, 6]]
