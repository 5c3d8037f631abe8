"""What importing a system costs, and what its smallest install puts on disk: ``python footprint.py MODULE``.

Run with the Python of the system's environment. The smallest install is the distribution of that name with what it
requires, extras left out.
"""

import json
import re
import resource
import sys
import time
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path


def main(module: str) -> None:
    began = time.perf_counter()
    func = import_module(f"{module}.func")
    seconds = time.perf_counter() - began
    assert func.entrypoint and func.task
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    answer = {"seconds": seconds, "memory_bytes": peak, "modules": len(sys.modules)}
    needed = closure(module)
    answer |= {"packages": len(needed), "disk_bytes": sum(size(name, module) for name in needed)}
    print(json.dumps(answer))


def closure(module: str) -> set[str]:
    """The distributions that installing one brings, itself included."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += requirements(name)
    return found


def requirements(name: str) -> Iterator[str]:
    from pip._vendor.packaging.requirements import Requirement

    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield re.sub(r"[-_.]+", "-", requirement.name).lower()


def size(name: str, module: str) -> int:
    """The bytes of a distribution's files; where it is installed as a link to its source, those of its package."""
    if name == module:
        folder = Path(import_module(module).__path__[0])
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc")
    files = [Path(str(file.locate())) for file in metadata.files(name) or ()]
    return sum(file.stat().st_size for file in files if file.exists() and file.suffix != ".pyc")


if __name__ == "__main__":
    main(sys.argv[1])
