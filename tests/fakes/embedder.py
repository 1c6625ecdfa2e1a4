"""An embedder of words: texts that share words are near. Held to the port by tests/contract."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from semcache.embedder import Embedded, ModelIdentity, Tokens
from semcache.errors import EmbedError, EmbedUnavailable

DIMENSIONS = 64
WINDOW_TOKENS = 256
# As all-MiniLM-L6-v2: most of what is beyond has no token.
FIRST_UNKNOWN = "\u2e80"


class FakeEmbedder:
    """Set `failure`, and every text gets it; `texts` are those embedded."""

    identity = ModelIdentity("test/words", "r1", "fp32", DIMENSIONS)
    window_tokens = WINDOW_TOKENS

    def __init__(self) -> None:
        self.failure: EmbedError | None = EmbedUnavailable("not started")
        self.texts: list[str] = []

    async def start(self) -> None:
        self.failure = None

    async def embed(self, texts: Sequence[str], deadline: float = math.inf) -> Embedded:
        del deadline  # it takes no time
        if self.failure is not None:
            raise self.failure
        self.texts += texts
        words = [["[CLS]", *text.lower().split(), "[SEP]"] for text in texts]
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, each in enumerate(words):
            for word in each[:WINDOW_TOKENS]:
                vectors[row, hashlib.sha256(word.encode()).digest()[0] % DIMENSIONS] += 1
            vectors[row] /= np.linalg.norm(vectors[row])
        tokens = [Tokens(len(each), sum(map(_is_unknown, each[:WINDOW_TOKENS]))) for each in words]
        return Embedded(vectors, tokens, WINDOW_TOKENS)

    async def stop(self) -> None:
        self.failure = EmbedUnavailable("stopped")


def _is_unknown(word: str) -> bool:
    return max(word) >= FIRST_UNKNOWN
