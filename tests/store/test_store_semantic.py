"""Search by meaning, on every backend."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durably.errors import BlockingError, ConfigError
from durably.store.base import BaseStore, PutOp, SearchOp
from durably.store.embed import AT_ONCE
from durably.store.scanning import ScanningStore

NS = ("users", "ada")


@pytest.fixture
def indexed(make_store: Any, letters: Any) -> BaseStore:
    store: BaseStore = make_store(index={"dims": 26, "embed": letters, "fields": ["text"]})
    return store


def hits(items: Any) -> list[str]:
    return [item.key for item in items]


def test_the_most_similar_comes_first_with_its_score(indexed: BaseStore) -> None:
    indexed.put(NS, "far", {"text": "zzz"})
    indexed.put(NS, "near", {"text": "aab"})
    indexed.put(NS, "same", {"text": "ab"})
    found = indexed.search(NS, query="ba")

    assert hits(found) == ["same", "near", "far"]
    scores = [item.score for item in found]
    assert scores == pytest.approx([1.0, 3 / 10**0.5, 0.0], abs=1e-6)
    assert hits(indexed.search(NS, query="ba", limit=1, offset=1)) == ["near"]


def test_a_search_by_meaning_obeys_prefix_and_filter(indexed: BaseStore) -> None:
    for n in range(30):
        indexed.put(("a", str(n % 3)), str(n), {"text": "tea" + "z" * n, "n": n})

    assert hits(indexed.search(("a",), query="tea", limit=3)) == ["0", "1", "2"]
    assert hits(indexed.search(("a", "2"), query="tea", limit=2)) == ["2", "5"]
    assert hits(indexed.search(("a",), query="tea", filter={"n": {"$gte": 20}}, limit=2)) == ["20", "21"]
    assert hits(indexed.search(("a", "2"), query="tea", filter={"n": {"$gte": 28}})) == ["29"]
    assert indexed.search(("b",), query="tea") == []


def test_matches_beyond_the_first_parts_are_found(indexed: BaseStore) -> None:
    indexed.batch([PutOp(NS, str(n), {"text": "a" * 50 + "b" * (n % 50), "n": n}) for n in range(3000)])

    assert hits(indexed.search(NS, query="a", filter={"n": 2999})) == ["2999"]
    assert len(indexed.search(NS, query="a", limit=5000)) == 3000


def test_updates_and_deletes_are_seen(indexed: BaseStore) -> None:
    indexed.put(NS, "x", {"text": "aaa"})
    indexed.put(NS, "y", {"text": "bbb"})
    assert hits(indexed.search(NS, query="a"))[0] == "x"

    indexed.put(NS, "y", {"text": "aaa"})
    indexed.put(NS, "x", {"text": "bbb"})
    assert hits(indexed.search(NS, query="a"))[0] == "y"
    assert len(indexed.search(NS, query="a")) == 2
    indexed.delete(NS, "y")
    assert hits(indexed.search(NS, query="a")) == ["x"]
    indexed.put(NS, "x", {"text": "ccc"}, index=False)
    assert indexed.search(NS, query="c") == []
    assert indexed.get(NS, "x") is not None


def test_one_change_among_many_items_is_seen(indexed: BaseStore) -> None:
    indexed.batch([PutOp(NS, str(n), {"text": "a" + "b" * n}) for n in range(40)])
    assert hits(indexed.search(NS, query="a", limit=4)) == ["0", "1", "2", "3"]
    indexed.put(NS, "0", {"text": "z"})
    assert hits(indexed.search(NS, query="a", limit=3)) == ["1", "2", "3"]
    indexed.put(NS, "1", {"text": "a"}, index=False)
    indexed.delete(NS, "2")
    indexed.put(NS, "new", {"text": "a"})

    assert hits(indexed.search(NS, query="a", limit=3)) == ["new", "3", "4"]
    everything = hits(indexed.search(NS, query="a", limit=100))
    assert len(everything) == 39
    assert "1" not in everything
    assert everything[-1] == "0"
    for n in range(3, 30):
        indexed.delete(NS, str(n))
    indexed.put(NS, "last", {"text": "ab"})
    assert hits(indexed.search(NS, query="a", limit=3)) == ["new", "last", "30"]


def test_only_new_vectors_are_asked_for(indexed: Any) -> None:
    if not isinstance(indexed, ScanningStore):
        pytest.skip("this store compares vectors where they are stored")
    for namespace in (("a",), ("a", "b"), ("ab",)):
        for n in range(3):
            indexed.put(namespace, str(n), {"text": "x"})
    with indexed._rows(writing=False) as rows:
        ids = rows.vector_ids(("a",))
        assert len(ids) == 6
        assert ids == sorted(ids)
        assert [row[0] for row in rows.vectors(("a",), 0)] == ids
        assert [row[0] for row in rows.vectors(("a",), ids[3])] == ids[4:]
        assert [row[0] for row in rows.vectors(("a",), ids[-1])] == []
        assert len(rows.vectors((), 0)) == 9


def test_a_batch_sees_its_own_writes(indexed: BaseStore) -> None:
    indexed.put(NS, "old", {"text": "ab"})
    indexed.search(NS, query="ab")
    results = indexed.batch([PutOp(NS, "new", {"text": "a"}), SearchOp(NS, query="a"), PutOp(NS, "old", None)])

    assert hits(results[1]) == ["new", "old"]
    assert hits(indexed.search(NS, query="a")) == ["new"]


def test_an_item_with_several_texts_counts_once_by_its_best(make_store: Any, letters: Any) -> None:
    store = make_store(index={"dims": 26, "embed": letters, "fields": ["title", "tags[*]", "parts[-1].text"]})
    store.put(NS, "x", {"title": "zz", "tags": ["qq", "aa"], "parts": [{"text": "no"}, {"text": "kk"}]})
    store.put(NS, "y", {"title": "ab"})
    found = store.search(NS, query="a")

    assert [(item.key, round(item.score, 3)) for item in found] == [("x", 1.0), ("y", 0.707)]
    assert hits(store.search(NS, query="k"))[0] == "x"
    assert store.search(NS, query="no")[0].score < 0.01


def test_put_chooses_what_is_embedded(indexed: BaseStore, letters: Any) -> None:
    indexed.put(NS, "paths", {"text": "aa", "other": {"note": "qq"}}, index=["other.note"])
    indexed.put(NS, "never", {"text": "qq"}, index=False)
    indexed.put(NS, "nothing", {"text": None, "other": 3})

    assert hits(indexed.search(NS, query="q")) == ["paths"]
    assert letters.calls == [["qq"], ["q"]]


def test_the_whole_value_is_embedded_by_default(make_store: Any, letters: Any) -> None:
    store = make_store(index={"dims": 26, "embed": letters})
    store.put(NS, "k", {"b": [1, {"c": "d"}], "a": None})

    assert letters.calls == [['{"a":null,"b":[1,{"c":"d"}]}']]


def test_texts_are_embedded_once_and_in_parts(indexed: BaseStore, letters: Any) -> None:
    many = 2 * AT_ONCE + 10
    indexed.batch([PutOp(NS, str(n), {"text": f"t{n}"}) for n in range(many)] + [PutOp(NS, "x", {"text": "t0"})])

    assert [len(call) for call in letters.calls] == [AT_ONCE, AT_ONCE, 10]


def test_a_failing_embedder_stores_nothing(make_store: Any) -> None:
    def embed(texts: list[str]) -> list[list[float]]:
        if "bad" in texts:
            raise ConnectionError("the model is away")
        return [[1.0, 0.0] for _ in texts]

    store = make_store(index={"dims": 2, "embed": embed, "fields": ["text"]})
    with pytest.raises(ConnectionError):
        store.batch([PutOp(NS, "x", {"text": "good"}), PutOp(NS, "y", {"text": "bad"})])
    with pytest.raises(ConnectionError):
        asyncio.run(store.aput(NS, "y", {"text": "bad"}))

    assert store.search(NS) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([[1.0]], "shape"),
        ([[1.0, 2.0, 3.0]], "shape"),
        ([], "returned 0 vectors"),
        ([[1.0, 2.0], [1.0, 2.0]], "returned 2 vectors"),
        ([[1.0, float("nan")]], "nan"),
        ([["a", "b"]], "no vector"),
        ([None], "shape"),
    ],
)
def test_a_wrong_embedder_is_explained_and_stores_nothing(make_store: Any, answer: Any, message: str) -> None:
    store = make_store(index={"dims": 2, "embed": lambda texts: answer})

    with pytest.raises(ConfigError, match=message):
        store.put(NS, "k", {"text": "x"})
    assert store.get(NS, "k") is None


def test_extreme_vectors_keep_their_direction(make_store: Any) -> None:
    vectors = {"huge": [1e300, 1e300], "tiny": [1e-300, 0.0], "zero": [0.0, 0.0], "q": [1.0, 0.0]}
    store = make_store(index={"dims": 2, "embed": lambda texts: [vectors[t] for t in texts], "fields": ["t"]})
    for name in ("huge", "tiny", "zero"):
        store.put(NS, name, {"t": name})

    assert [(i.key, round(i.score, 3)) for i in store.search(NS, query="q")] == [
        ("tiny", 1.0),
        ("huge", 0.707),
        ("zero", 0.0),
    ]


def test_an_async_embedder_serves_both_colours(make_store: Any, letters: Any) -> None:
    async def embed(texts: list[str]) -> list[list[float]]:
        await asyncio.sleep(0)
        return [letters.vector(text) for text in texts]

    store = make_store(index={"dims": 26, "embed": embed, "fields": ["text"]})
    store.put(NS, "sync", {"text": "aa"})

    async def main() -> list[str]:
        await store.aput(NS, "async", {"text": "ab"})
        with pytest.raises(BlockingError, match="aput"):
            store.put(NS, "blocked", {"text": "x"})
        return hits(await store.asearch(NS, query="b"))

    assert asyncio.run(main()) == ["async", "sync"]
    assert hits(store.search(NS, query="a")) == ["sync", "async"]


class FakeEmbeddings:
    """The four methods of a LangChain ``Embeddings``."""

    def __init__(self, letters: Any) -> None:
        self.letters = letters
        self.used: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.used.append("documents")
        return [self.letters.vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.used.append("query")
        vector: list[float] = self.letters.vector(text)
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.used.append("async documents")
        return [self.letters.vector(text) for text in texts]

    async def aembed_query(self, text: str) -> list[float]:
        self.used.append("async query")
        vector: list[float] = self.letters.vector(text)
        return vector


def test_langchain_embeddings_are_called_by_their_own_methods(make_store: Any, letters: Any) -> None:
    embeddings = FakeEmbeddings(letters)
    store = make_store(index={"dims": 26, "embed": embeddings, "fields": ["text"]})
    store.put(NS, "k", {"text": "tea"})
    assert hits(store.search(NS, query="tea")) == ["k"]

    async def main() -> None:
        await store.aput(NS, "k2", {"text": "eat"})
        assert len(await store.asearch(NS, query="tea")) == 2

    asyncio.run(main())
    assert embeddings.used == ["documents", "query", "async documents", "async query"]


def test_real_langchain_embeddings(make_store: Any, letters: Any) -> None:
    embeddings = pytest.importorskip("langchain_core.embeddings")

    class Mine(FakeEmbeddings, embeddings.Embeddings):  # type: ignore[misc,name-defined]
        pass

    store = make_store(index={"dims": 26, "embed": Mine(letters), "fields": ["text"]})
    store.put(NS, "k", {"text": "tea"})
    assert hits(store.search(NS, query="tea")) == ["k"]


@pytest.mark.parametrize(
    "index",
    [
        {"dims": 0, "embed": len},
        {"dims": "26", "embed": len},
        {"dims": True, "embed": len},
        {"embed": len},
        {"dims": 26},
        {"dims": 26, "embed": "openai:text-embedding-3-small"},
        {"dims": 26, "embed": 3},
        {"dims": 26, "embed": len, "fields": "text"},
        {"dims": 26, "embed": len, "fields": ["a..b"]},
        {"dims": 26, "embed": len, "field": ["text"]},
        {"dims": 26, "embed": len, "distance_type": "l2"},
    ],
)
def test_bad_configurations_are_refused(make_store: Any, index: Any) -> None:
    with pytest.raises(ConfigError):
        make_store(index=index)


@pytest.mark.parametrize("index", ["text", ["a["], ["a]b"], [".a"], ["a."], [""], [3], ["a[x]"], ["{a"], True])
def test_bad_paths_of_a_put_are_refused(indexed: BaseStore, index: Any) -> None:
    with pytest.raises(ConfigError):
        indexed.put(NS, "k", {"a": "x"}, index=index)
    assert indexed.get(NS, "k") is None


def test_many_writers_and_searchers_agree(indexed: BaseStore) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def work(worker: int) -> None:
        for n in range(15):
            indexed.put(("w", str(worker)), str(n), {"text": "abcdefgh"[worker] * (n + 1)})
            found = indexed.search(("w", str(worker)), query="abcdefgh"[worker], limit=100)
            assert len(found) == n + 1, "a thread sees all of its own writes"
            assert all(item.score == pytest.approx(1.0) for item in found)
            indexed.search(("w",), query="a", limit=3)

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work, worker) for worker in range(6)]:
            done.result()
    assert len(indexed.search(("w",), query="a", limit=1000)) == 90
