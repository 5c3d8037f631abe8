"""The command ``durably``: what the library does from a terminal. Needs the extra ``durably[cli]``."""

from __future__ import annotations

import sys

try:
    from .commands import main
except ModuleNotFoundError as missing:
    if missing.name != "click":
        raise

    def main() -> None:
        """Say what is missing."""
        sys.exit("the command durably needs click: pip install 'durably[cli]'")


__all__ = ["main"]
