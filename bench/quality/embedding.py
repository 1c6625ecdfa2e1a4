"""Embeddings of many texts by an export that serves, computed once and kept."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from semcache.embedders import model_folder
from semcache.embedders.onnx import OnnxModel

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]


def onnx_embed(folder: Path) -> Embed:
    """Return the encoder of an export, one text at a time.

    One at a time because dynamic quantisation takes its range from the whole
    input: a text's vector then does not depend on its neighbours in a batch.
    """
    description, graph, tokenizer = model_folder.read(folder)
    model = OnnxModel(graph, tokenizer, description.window_tokens)
    return lambda texts: np.concatenate([model.embed([text])[0] for text in texts])


def kept_embed(folder: Path, kept: Path) -> Embed:
    """Return the encoder of an export, with its vectors kept in the folder `kept` by model and texts."""
    slug = model_folder.read(folder)[0].identity.slug

    def embed(texts: Sequence[str]) -> Vectors:
        name = hashlib.sha256(json.dumps([slug, *texts]).encode()).hexdigest()[:24]
        path = kept / f"{name}.npy"
        if not path.exists():
            kept.mkdir(parents=True, exist_ok=True)
            np.save(path, onnx_embed(folder)(texts))
        vectors: Vectors = np.load(path)
        return vectors

    return embed
