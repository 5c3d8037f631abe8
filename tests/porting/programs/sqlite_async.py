"""The async saver of an async program."""

import asyncio
import tempfile
from pathlib import Path

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task


@task
async def double(x: int) -> int:
    return 2 * x


async def main(path: str) -> list:
    async with AsyncSqliteSaver.from_conn_string(path) as saver:

        @entrypoint(checkpointer=saver)
        async def total(x: int, *, previous: int | None = None) -> int:
            return (previous or 0) + await double(x)

        config = {"configurable": {"thread_id": "1"}}
        return [await total.ainvoke(1, config), await total.ainvoke(2, config), (await total.aget_state(config)).values]


with tempfile.TemporaryDirectory() as folder:
    seen = asyncio.run(main(str(Path(folder) / "state.db")))
expected = [2, 6, 6]
