"""What was stored once is read by every later version.

``python tests/serde/test_serde_golden.py`` writes the entries that `golden/format-1.json` does not have yet; an
entry that is there is never written again.
"""

from __future__ import annotations

import json
import pathlib

import pytest
from serde_values import GOLDEN, everything, same

from durably.serde import TypedSerializer, learn

learn(everything)
FILE = pathlib.Path(__file__).parent / "golden" / "format-1.json"
STORED: dict[str, dict[str, str]] = json.loads(FILE.read_text()) if FILE.exists() else {}


@pytest.mark.parametrize("name", GOLDEN)
def test_stored_values_are_still_read(name: str) -> None:
    data = bytes.fromhex(STORED[name]["value"])
    assert same(TypedSerializer().loads(data), GOLDEN[name])


@pytest.mark.parametrize("name", GOLDEN)
def test_fingerprints_are_the_same_as_ever(name: str) -> None:
    assert TypedSerializer().fingerprint([GOLDEN[name]]).hex() == STORED[name]["fingerprint"]


def write() -> None:
    serializer = TypedSerializer()
    for name, value in GOLDEN.items():
        stored = {"value": serializer.dumps(value).hex(), "fingerprint": serializer.fingerprint([value]).hex()}
        STORED.setdefault(name, stored)
    FILE.write_text(json.dumps(STORED, indent=1) + "\n")


if __name__ == "__main__":
    write()
