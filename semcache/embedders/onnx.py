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
from semcache.embedders.grouping import group
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
        ids = [encoding.ids for encoding in encodings]
        embeddings = self._infer(ids)
        tokens = [
            Tokens(len(mine) + _cut(encoding), mine.count(self._unknown))
            for mine, encoding in zip(ids, encodings, strict=True)
        ]
        return embeddings, tokens

    def _infer(self, ids: Sequence[list[int]]) -> Embeddings:
        groups = group([len(mine) for mine in ids])
        parts = [self._session.run(["embedding"], _feed([ids[row] for row in rows]))[0] for rows in groups]
        grouped: Embeddings = np.concatenate(parts)
        embeddings = np.empty_like(grouped)
        embeddings[[row for rows in groups for row in rows]] = grouped
        return embeddings

    def embed_tokens(self, text: str) -> Embeddings:
        """Return a vector for each token of a text: for verifiers that look closer."""
        encoding = self._tokenizer.encode(text[:TEXT_CHARACTERS_MAX])
        vectors: Embeddings = self._session.run(["token_embeddings"], _feed([encoding.ids]))[0]
        return np.asarray(vectors[0], np.float32)


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


def _feed(ids: Sequence[list[int]]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """Return the model's inputs: token ids, filled up to the longest text, and which of them count."""
    width = max(map(len, ids))
    filled = [mine + [0] * (width - len(mine)) for mine in ids]
    mask = [[1] * len(mine) + [0] * (width - len(mine)) for mine in ids]
    return {"input_ids": np.array(filled, np.int64), "attention_mask": np.array(mask, np.int64)}


def _cut(encoding: Encoding) -> int:
    """Return how many tokens the model's window has no room for."""
    return sum(part.special_tokens_mask.count(0) for part in encoding.overflowing)
