"""The config is injected, and reachable in a task."""

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.func import entrypoint, task


@task
def language() -> str:
    return get_config()["configurable"]["language"]


@entrypoint()
def greet(name: str, *, config: RunnableConfig) -> list:
    return [name, config["tags"], config["metadata"]["project"], language().result()]


seen = greet.invoke("Ada", {"configurable": {"language": "en"}, "tags": ["nightly"], "metadata": {"project": "bees"}})
expected = ["Ada", ["nightly"], "bees", "en"]
