"""The commands, and what they take."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import click

from .. import Worker, Workflow
from ..errors import ConfigError

__all__ = ["app", "main"]

logger = logging.getLogger("durably")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="durably")
def app() -> None:
    """Ordinary Python functions, made durable."""


@app.command(short_help="Go on with runs that are due.")
@click.argument("workflows", nargs=-1, required=True, metavar="MODULE:WORKFLOW...")
@click.option("-c", "--concurrency", type=click.IntRange(1), default=10, show_default=True, help="Runs at once.")
@click.option(
    "--poll-interval",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds between two looks without news.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds for which runs go on after the first signal.",
)
@click.option("--context", metavar="MODULE:NAME", help="A function from a run to its context, or one context for all.")
@click.option("--until-idle", is_flag=True, help="End as soon as nothing is due.")
def worker(workflows: tuple[str, ...], context: str | None, until_idle: bool, **how: Any) -> None:
    """Go on with runs that are due: submitted ones, those handed back by other workers, and those of dead processes.

    MODULE:WORKFLOW is where a workflow is found, as in shop.jobs:report. Modules are looked for in the current folder first.

    The first SIGTERM or Ctrl-C takes no more runs and lets those under way finish; a second one hands them back at once, for
    other workers to go on with.

    Exit status: 0 it was stopped, or is idle; 1 a module raised an error; 2 the command line is wrong.
    """
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    found = [_workflow_at(place) for place in workflows]
    try:
        working = Worker(found, context=None if context is None else _object_at(context), **how)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    _log_to_stderr()
    logger.info("a worker for %s begins, with up to %d runs at once", ", ".join(workflows), working.concurrency)
    working.run(until_idle=until_idle)
    logger.info("the worker ends")


def _log_to_stderr() -> None:
    """Unless a module has set up logging as it wants it."""
    if not logging.getLogger().handlers:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        logger.setLevel(logging.INFO)


def _workflow_at(place: str) -> Workflow[Any, Any]:
    found = _object_at(place)
    if not isinstance(found, Workflow):
        raise click.UsageError(f"{place} is no workflow, but {found!r}: name what @entrypoint made")
    return found


def _object_at(place: str) -> Any:
    name, _, path = place.partition(":")
    if not all(word.isidentifier() for word in (*name.split("."), *path.split("."))):
        raise click.UsageError(f"{place!r} names nothing in a module: write it as MODULE:NAME, as in shop.jobs:report")
    found: Any = (module := _module(name))
    for word in path.split("."):
        try:
            found = getattr(found, word)
        except AttributeError:
            raise click.UsageError(f"module {name} has no {path!r}; {_workflows_of(module)}") from None
    return found


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{name}.".startswith(f"{missing.name}."):
            raise  # the module is there; what it imports is not
        where = f"neither in {os.getcwd()} nor where Python looks"
        raise click.UsageError(
            f"there is no module {missing.name!r}, {where}: change to its folder, or set PYTHONPATH"
        ) from None


def _workflows_of(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Workflow)]
    return f"its workflows are {', '.join(names)}" if names else "it has no workflow at all"


def main() -> None:
    """Run the command that ``sys.argv`` asks for."""
    app(prog_name="durably")
