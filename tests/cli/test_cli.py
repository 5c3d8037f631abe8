"""The command ``durably worker``."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from durably.cli.commands import app, main

ROOT = Path(__file__).resolve().parents[2]

APP = """
import asyncio
from pathlib import Path

from durably import Runtime, entrypoint
from durably.checkpoint.sqlite import SqliteSaver

saver = SqliteSaver("app.sqlite")
number = 17


@entrypoint(checkpointer=saver)
def double(x: int) -> int:
    return 2 * x


@entrypoint(checkpointer=saver)
def triple(x: int) -> int:
    return 3 * x


@entrypoint(checkpointer=saver, context_schema=dict)
def needs(x: int, *, runtime: Runtime[dict]) -> str:
    return runtime.context["tenant"]


@entrypoint(checkpointer=saver)
async def patient(x: int, *, runtime: Runtime) -> str:
    Path(f"begun-{x}").touch()
    while not runtime.drain_requested:
        await asyncio.sleep(0.01)
    return "told to finish"


@entrypoint(checkpointer=saver)
async def stubborn(x: int, *, runtime: Runtime) -> str:
    if Path("noticed").exists():
        return "went on elsewhere"
    Path("begun").touch()
    while not runtime.drain_requested:
        await asyncio.sleep(0.01)
    Path("noticed").touch()
    await asyncio.Event().wait()


@entrypoint()
def stores_nothing(x: int) -> int:
    return x


class contexts:
    @staticmethod
    def of(run):
        return {"tenant": run.thread_id.upper()}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with programs, which is the current one."""
    (tmp_path / "shop_app.py").write_text(APP)
    (tmp_path / "broken_app.py").write_text("import no_such_library\n")
    (tmp_path / "empty_app.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("shop_app", "broken_app", "empty_app"):
        loaded: Any = sys.modules.pop(name, None)
        if hasattr(loaded, "saver"):
            loaded.saver.close()


@pytest.fixture
def shop(place: Path) -> ModuleType:
    sys.path.insert(0, str(place))
    return import_module("shop_app")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


class TestCommand:
    def test_runs_what_is_due_of_the_workflows_named(self, shop: Any) -> None:
        handles = [getattr(shop, name).submit(1, thread_id=name) for name in ("double", "triple", "needs")]
        assert run("worker", "shop_app:double", "shop_app:triple", "--until-idle").exit_code == 0
        assert [handle.status for handle in handles] == ["done", "done", "pending"]

    def test_takes_a_function_for_contexts(self, shop: Any) -> None:
        handle = shop.needs.submit(1, thread_id="acme")
        options = ("-c", "2", "--grace", "1", "--poll-interval", "0.5", "--until-idle")
        done = run("worker", "shop_app:needs", "--context", "shop_app:contexts.of", *options)
        assert (done.exit_code, handle.result()) == (0, "ACME"), done.output

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["shop_app"], "MODULE:NAME"),
            (["./shop_app.py:double"], "MODULE:NAME"),
            ([":double"], "MODULE:NAME"),
            ([], "MODULE:WORKFLOW"),
            (["no_such_app:double"], "there is no module 'no_such_app'"),
            (["shop_app.jobs:double"], "there is no module 'shop_app.jobs'"),
            (["shop_app:none"], "its workflows are double, triple, needs"),
            (["shop_app:contexts.none"], "has no 'contexts.none'"),
            (["empty_app:double"], "no workflow at all"),
            (["shop_app:number"], "@entrypoint"),
            (["shop_app:stores_nothing"], "@entrypoint(checkpointer=...)"),
            (["shop_app:needs"], "needs a context"),
            (["shop_app:needs", "--context", "shop_app:none"], "has no 'none'"),
            (["shop_app:double", "--concurrency", "0"], "--concurrency"),
            (["shop_app:double", "--poll-interval", "0"], "--poll-interval"),
            (["shop_app:double", "--grace", "-1"], "--grace"),
        ],
    )
    def test_says_what_is_wrong(self, place: Path, arguments: list[str], text: str) -> None:
        done = run("worker", *arguments)
        assert done.exit_code == 2
        assert text in " ".join(done.stderr.split())

    def test_does_not_hide_what_a_module_lacks(self, place: Path) -> None:
        done = run("worker", "broken_app:double")
        assert done.exit_code == 1
        assert isinstance(done.exception, ModuleNotFoundError)
        assert done.exception.name == "no_such_library"

    def test_help_says_what_it_takes(self) -> None:
        assert "worker" in run("--help").output
        done = run("worker", "--help")
        for word in ("MODULE:WORKFLOW", "--concurrency", "--context", "--until-idle", "SIGTERM", "Exit status"):
            assert word in done.output


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "durably", "worker", *arguments]


@contextmanager
def at_work(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own."""
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    pytest.fail(f"{path.name} did not come")


class TestProcess:
    def test_picks_up_what_is_submitted_while_it_waits(self, shop: Any) -> None:
        with at_work("shop_app:double", "--poll-interval", "0.05") as process:
            for x in (1, 21):
                handle = shop.double.submit(x, thread_id=str(x))
                assert handle.result(timeout=60) == 2 * x
            process.send_signal(signal.SIGTERM)
            text = process.communicate(timeout=60)[1]
        assert process.returncode == 0
        assert "a worker for shop_app:double begins, with up to 10 runs at once" in text

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_the_first_signal_lets_runs_finish(self, shop: Any, place: Path, number: signal.Signals) -> None:
        first, second = (shop.patient.submit(x, thread_id=str(x)) for x in (1, 2))
        with at_work("shop_app:patient", "-c", "1", "--grace", "3600") as process:
            wait_for(place / "begun-1", process)
            process.send_signal(number)
            assert process.wait(timeout=60) == 0
        assert (first.result(), second.status) == ("told to finish", "pending")

    def test_a_second_signal_hands_them_back(self, shop: Any, place: Path) -> None:
        handle = shop.stubborn.submit(1, thread_id="1")
        with at_work("shop_app:stubborn", "--grace", "3600") as process:
            for sign in ("begun", "noticed"):
                wait_for(place / sign, process)
                process.send_signal(signal.SIGTERM)
            text = process.communicate(timeout=60)[1]
        assert process.returncode == 0, text
        subprocess.run(command("shop_app:stubborn", "--until-idle"), check=True, capture_output=True)
        assert handle.result() == "went on elsewhere"

    def test_leaves_logging_to_a_module_that_sets_it_up(self, place: Path) -> None:
        with (place / "shop_app.py").open("a") as file:
            file.write("\nimport logging; logging.basicConfig(format='own: %(message)s', level='INFO')\n")
        done = subprocess.run(command("shop_app:double", "--until-idle"), capture_output=True, text=True, check=True)
        assert all(line.startswith("own: ") for line in done.stderr.splitlines())
        assert "own: the worker ends" in done.stderr

    def test_is_what_is_installed_as_durably(self) -> None:
        scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
        module, _, name = scripts["durably"].partition(":")
        assert getattr(import_module(module), name) is main

    def test_says_what_to_install(self, place: Path) -> None:
        (place / "click.py").write_text("raise ModuleNotFoundError('no click', name='click')\n")
        done = subprocess.run(command("shop_app:double"), capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert "pip install 'durably[cli]'" in done.stderr
