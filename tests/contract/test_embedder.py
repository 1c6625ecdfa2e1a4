"""What every embedder does; the real ones run all-MiniLM-L6-v2."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Whitespace

from semcache.embedder import Embedder, Tokens
from semcache.embedders.model_folder import read
from semcache.embedders.onnx import OnnxEmbedder, OnnxModel
from semcache.embedders.sentence import SentenceEmbedder
from semcache.errors import EmbedUnavailable
from semcache.settings import EmbedderSettings
from serving.clock import SystemClock
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.models import model_folder, source_folder

# PyTorch is not installed with the tests; where sentence-transformers is, it is held to the same.
HAS_ORIGINAL = importlib.util.find_spec("sentence_transformers") is not None
SINGLE_WORDS = [
    "password",
    "fair",
    "reset",
    "account",
    "appreciated",
    "weather",
    "invoice",
    "refund",
    "cancel",
    "subscription",
    "hello",
    "thanks",
    "price",
    "delivery",
    "address",
    "telephone",
    "define",
    "weir",
    "river",
    "photosynthesis",
    "gravity",
    "inflation",
    "python",
    "javascript",
    "kubernetes",
    "latency",
    "cache",
]
KINDS = ["fake", "int8", "fp32", *(["sentence"] if HAS_ORIGINAL else [])]


def make_embedder(kind: str) -> Embedder:
    if kind == "fake":
        return FakeEmbedder()
    if kind == "sentence":  # pragma: no cover - see above
        return SentenceEmbedder(EmbedderSettings(model=str(source_folder())), SystemClock())
    return OnnxEmbedder(model_folder(kind), EmbedderSettings(), SystemClock())


@pytest.fixture(params=KINDS)
async def embedder(request: pytest.FixtureRequest) -> AsyncIterator[Embedder]:
    embedder = make_embedder(request.param)
    await embedder.start()
    yield embedder
    await embedder.stop()


async def test_every_text_has_a_unit_vector_of_its_own_in_order(embedder: Embedder) -> None:
    texts = ["reset my password", "the weather in Oslo", "reset my password"]

    vectors = (await embedder.embed(texts)).embeddings

    assert vectors.shape == (3, embedder.identity.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert vectors[0] @ vectors[2] == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] < 0.7


async def test_a_vector_does_not_depend_on_the_texts_beside_it(embedder: Embedder) -> None:
    texts = ["ok", "how do I reset my password?", "the weather in Oslo " * 30]

    together = (await embedder.embed(texts)).embeddings
    alone = np.concatenate([(await embedder.embed([text])).embeddings for text in texts])

    assert (together * alone).sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-4)


async def test_calls_that_come_together_are_not_mixed_up(embedder: Embedder) -> None:
    texts = [f"number {number} of many" for number in range(40)]

    answers = await asyncio.gather(*(embedder.embed([text]) for text in texts))

    expected = (await embedder.embed(texts)).embeddings
    assert (np.concatenate([each.embeddings for each in answers]) * expected).sum(axis=1) == pytest.approx(1, abs=1e-4)


async def test_no_texts_are_no_vectors(embedder: Embedder) -> None:
    embedded = await embedder.embed([])

    assert embedded.embeddings.shape == (0, embedder.identity.dimensions)


async def test_an_empty_text_has_a_vector_too(embedder: Embedder) -> None:
    embedded = await embedder.embed([""])

    assert np.linalg.norm(embedded.embeddings[0]) == pytest.approx(1, abs=1e-5)


async def test_what_is_cut_is_said(embedder: Embedder) -> None:
    embedded = await embedder.embed(["short text", "word " * (embedder.window_tokens - 2), "word " * 300])

    assert [embedded.tokens_unread(index) for index in range(3)] == [0, 0, 302 - embedder.window_tokens]


async def test_what_the_model_has_no_token_for_is_said(embedder: Embedder) -> None:
    embedded = await embedder.embed(["What does \U0001f44d mean?", "如何删除我的账户", "What does that mean?"])

    unread = [embedded.tokens_unread(index) for index in range(3)]

    assert (unread[0], unread[1] > 0, unread[2]) == (1, True, 0)


async def test_a_text_that_was_not_read_whole_is_near_nothing(embedder: Embedder) -> None:
    embedded = await embedder.embed(["word " * 300, "word " * 10, "How do I delete 我的账户?"])

    assert np.linalg.norm(embedded.comparable, axis=1) == pytest.approx([0, 1, 0], abs=1e-5)
    assert (embedded.comparable[1] == embedded.embeddings[1]).all()


async def test_what_is_beyond_the_window_does_not_count(embedder: Embedder) -> None:
    start = "word " * embedder.window_tokens

    vectors = (await embedder.embed([start + "one end", start + "another"])).embeddings

    assert vectors[0] @ vectors[1] == pytest.approx(1, abs=1e-5)


async def test_after_the_end_nothing_is_embedded(embedder: Embedder) -> None:
    await embedder.stop()

    with pytest.raises(EmbedUnavailable):
        await embedder.embed(["too late"])


@pytest.mark.parametrize("kind", ["fake", "int8"])
async def test_before_the_start_nothing_is_embedded(kind: str) -> None:
    with pytest.raises(EmbedUnavailable):
        await make_embedder(kind).embed(["too early"])


async def test_precisions_are_two_models() -> None:
    embedders = [make_embedder(precision) for precision in ("int8", "fp32")]
    for embedder in embedders:
        await embedder.start()

    slugs = {embedder.identity.slug for embedder in embedders}

    for embedder in embedders:
        await embedder.stop()
    assert len(slugs) == 2


def test_the_library_reports_to_nobody(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    subprocess.run([sys.executable, "-c", "import semcache.embedders.onnx"], env=environment, check=True)

    assert list(tmp_path.rglob("*")) == []


async def test_single_words_which_are_the_worst_for_int8_keep_their_cosine_in_the_mean() -> None:
    embedders = [make_embedder(precision) for precision in ("int8", "fp32")]
    for each in embedders:
        await each.start()

    one, other = [(await each.embed(SINGLE_WORDS)).embeddings for each in embedders]
    for each in embedders:
        await each.stop()

    assert float((one * other).sum(axis=1).mean()) >= 0.99


async def test_what_never_started_embeds_nothing_and_can_be_stopped() -> None:
    embedder = OnnxEmbedder(model_folder(), EmbedderSettings(), SystemClock())

    with pytest.raises(EmbedUnavailable, match="not loaded"):
        await embedder.embed(["a"])
    with pytest.raises(EmbedUnavailable, match="not loaded"):
        _ = embedder.identity
    await embedder.stop()


def test_the_vector_of_a_text_is_the_mean_of_its_tokens() -> None:
    description, graph, tokenizer = read(model_folder())
    model = OnnxModel(graph, tokenizer, description.window_tokens)
    text = "how do I reset my password?"

    mean = model.embed_tokens(text).mean(axis=0)
    (whole,), _ = model.embed([text])

    assert float(mean @ whole / np.linalg.norm(mean)) == pytest.approx(1, abs=1e-4)


def test_what_a_vocabulary_of_pieces_does_not_know_is_counted() -> None:
    _, graph, _ = read(model_folder("fp32"))
    tokenizer = Tokenizer(Unigram([("<unk>", 0.0), ("known", -1.0)], 0))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment] # its stubs know no setter

    _, tokens = OnnxModel(graph, tokenizer.to_str().encode(), 8).embed(["known zzz known"])

    assert tokens == [Tokens(3, 1)]
