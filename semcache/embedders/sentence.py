"""Embeds with sentence-transformers itself, where it is installed: any model, no export, PyTorch's weight and speed."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semcache.embedder import Embedded, Embeddings, ModelIdentity, Tokens
from semcache.embedders.queue import TextQueue
from semcache.errors import EmbedUnavailable
from semcache.settings import EmbedderSettings
from serving.clock import Clock

_REVISION_DIGITS = 16


def load_model(source: str) -> Any:  # noqa: ANN401 - a class of a package that need not be there
    """Load what sentence-transformers loads.

    Raises:
        EmbedUnavailable: the package, or the model, is not there.
    """
    try:
        package = importlib.import_module("sentence_transformers")
    except ImportError:
        raise EmbedUnavailable(
            "SEMCACHE_EMBEDDER_KIND=sentence needs the package sentence-transformers; or export the model once "
            "(`weir export-model`) and serve it with SEMCACHE_EMBEDDER_KIND=onnx"
        ) from None
    try:
        return package.SentenceTransformer(source, device="cpu")
    except (OSError, ValueError) as error:
        raise EmbedUnavailable(f"sentence-transformers cannot load the model: {error}") from error


class SentenceEmbedder:  # pragma: no cover - needs PyTorch; tests/contract hold it to the port where that is installed
    """A model of sentence-transformers, fed by the same queue as an export."""

    def __init__(self, settings: EmbedderSettings, clock: Clock, load: Callable[[str], Any] = load_model) -> None:
        self._settings = settings
        self._clock = clock
        self._load = load
        self._model: Any = None
        self._identity: ModelIdentity | None = None
        self._queue: TextQueue | None = None

    @property
    def identity(self) -> ModelIdentity:
        """What the vectors are comparable with."""
        if self._identity is None:
            raise EmbedUnavailable("the model is not loaded")
        return self._identity

    @property
    def window_tokens(self) -> int:
        """Tokens that the model reads."""
        return int(self._model.max_seq_length) if self._model is not None else 0

    async def start(self) -> None:
        """Load the model; others are served meanwhile."""
        self._identity = await asyncio.to_thread(self._identify, self._settings.model)
        self._queue = TextQueue(self._settings, self._clock, self.window_tokens, self._work)
        self._queue.start()

    async def embed(self, texts: Sequence[str], deadline: float = math.inf) -> Embedded:
        """Embed texts."""
        if self._queue is None:
            raise EmbedUnavailable("the model is not loaded")
        answers = await self._queue.embed(texts, deadline)
        embeddings = np.empty((len(answers), self.identity.dimensions), np.float32)
        for row, (embedding, _) in enumerate(answers):
            embeddings[row] = embedding
        return Embedded(embeddings, [tokens for _, tokens in answers], self.window_tokens)

    async def stop(self) -> None:
        """Let the model go."""
        if self._queue is not None:
            await self._queue.stop()

    def _identify(self, source: str) -> ModelIdentity:
        """Load it, and see what it is."""
        self._model = self._load(source)
        probe = np.asarray(self._encode(["what this model is"]))
        revision = revision_of(Path(source)) or hashlib.sha256(probe.round(3).tobytes()).hexdigest()
        return ModelIdentity(Path(source).name, revision[:_REVISION_DIGITS], "fp32", probe.shape[1])

    def _work(self, texts: Sequence[str]) -> tuple[Embeddings, Sequence[Tokens]]:
        tokenizer = self._model.tokenizer
        ids = [list(tokenizer.encode(text, truncation=False)) for text in texts]
        # Tokenizers that have a token for everything need not have the name.
        unknown, window = getattr(tokenizer, "unk_token_id", None), self.window_tokens
        return self._encode(texts), [Tokens(len(each), each[:window].count(unknown)) for each in ids]

    def _encode(self, texts: Sequence[str]) -> Embeddings:
        vectors: Embeddings = self._model.encode(
            list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return vectors.astype(np.float32)


def revision_of(folder: Path) -> str:  # pragma: no cover - as above
    """Return a digest of the weights in a folder; nothing where there are none to be seen."""
    digest = hashlib.sha256()
    weights = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
    for path in weights:
        digest.update(path.read_bytes())
    return digest.hexdigest() if weights else ""
