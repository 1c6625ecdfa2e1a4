"""Embeds with ONNX Runtime and the model's own tokenizer; no PyTorch.

Not through fastembed, which can load an export from its folder: it does not tell what it cut of a text, pads a batch to
its longest text without a bound on tokens, and keeps its models in one register for the whole process.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from tokenizers import Encoding, Tokenizer

from semcache.embedder import Embedded, Embeddings, ModelIdentity, Tokens
from semcache.embedders import model_folder
from semcache.embedders.queue import TextQueue
from semcache.errors import EmbedUnavailable
from semcache.settings import EmbedderSettings
from serving.clock import Clock

# Characters that are looked at: 16 times what a window of 512 tokens holds. What is beyond cannot reach the model,
# and splitting a megabyte takes a second.
TEXT_CHARACTERS_MAX = 32_768


class OnnxModel:
    """A loaded export; blocking, one thread at a time."""

    def __init__(self, graph: bytes, tokenizer: bytes, window_tokens: int, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_buffer(tokenizer)
        self._unknown = _unknown(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(window_tokens)

    def embed(self, texts: Sequence[str]) -> tuple[Embeddings, Sequence[Tokens]]:
        """Return a unit vector for each text, and its tokens."""
        encodings = [self._tokenizer.encode(text[:TEXT_CHARACTERS_MAX]) for text in texts]
        embeddings: Embeddings = self._session.run(["embedding"], self._feed(encodings))[0]
        return embeddings, [Tokens(_count(each), each.ids.count(self._unknown)) for each in encodings]

    def embed_tokens(self, text: str) -> Embeddings:
        """Return a vector for each token of a text: for verifiers that look closer."""
        encoding = self._tokenizer.encode(text[:TEXT_CHARACTERS_MAX])
        vectors: Embeddings = self._session.run(["token_embeddings"], self._feed([encoding]))[0]
        return np.asarray(vectors[0], np.float32)

    @staticmethod
    def _feed(encodings: Sequence[Encoding]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
        ids = np.zeros((len(encodings), max(len(encoding.ids) for encoding in encodings)), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        return {"input_ids": ids, "attention_mask": mask}


class OnnxEmbedder:
    """An exported model, fed by a queue."""

    def __init__(self, folder: Path, settings: EmbedderSettings, clock: Clock) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._description: model_folder.Description | None = None
        self._queue: TextQueue | None = None

    @property
    def identity(self) -> ModelIdentity:
        """What the vectors are comparable with."""
        return self._loaded.identity

    @property
    def window_tokens(self) -> int:
        """Tokens that the model reads."""
        return self._loaded.window_tokens

    async def start(self) -> None:
        """Load the model; others are served meanwhile."""
        description, model = await asyncio.to_thread(self._load)
        self._queue = TextQueue(self._settings, self._clock, description.window_tokens, model.embed)
        self._queue.start()
        self._description = description

    async def embed(self, texts: Sequence[str], deadline: float = math.inf) -> Embedded:
        """Embed texts."""
        if self._queue is None:
            raise EmbedUnavailable("the model is not loaded")
        loaded = self._loaded
        answers = await self._queue.embed(texts, deadline)
        embeddings = np.empty((len(answers), loaded.dimensions), np.float32)
        for row, (embedding, _) in enumerate(answers):
            embeddings[row] = embedding
        return Embedded(embeddings, [tokens for _, tokens in answers], loaded.window_tokens)

    async def stop(self) -> None:
        """Let the model go."""
        if self._queue is not None:
            await self._queue.stop()

    def _load(self) -> tuple[model_folder.Description, OnnxModel]:
        description, graph, tokenizer = model_folder.read(self._folder)
        return description, OnnxModel(graph, tokenizer, description.window_tokens, self._settings.threads)

    @property
    def _loaded(self) -> model_folder.Description:
        if self._description is None:
            raise EmbedUnavailable("the model is not loaded")
        return self._description


def _unknown(tokenizer: bytes) -> int:
    """Return the id of the token for what has none; -1 where everything has one."""
    model = json.loads(tokenizer)["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    vocabulary = model["vocab"]
    return int(vocabulary.get(model.get("unk_token"), -1)) if isinstance(vocabulary, dict) else -1


def _count(encoding: Encoding) -> int:
    cut = sum(part.special_tokens_mask.count(0) for part in encoding.overflowing)
    return len(encoding.ids) + cut
