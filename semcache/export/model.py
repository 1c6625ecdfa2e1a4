"""One export: read a model's folder, build the graph, compare it with the original, keep it if it is faithful.

    source ─▶ graph fp32 ─▶ cosine to the reference ≥ 0.9999 ─▶ kept
                   └─▶ graph int8 ─▶ cosine to the reference ≥ 0.99 ─▶ kept

1. The reference is what sentence-transformers gave for weights of this very digest, where that is recorded here; else
   sentence-transformers itself. Without either nothing is exported: exports that were off by .04 at a length other
   than the traced one, without an error, are why.
2. The comparison is over texts of several lengths, the window and beyond included, each embedded alone and all together.
3. What is kept appears at once, whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semcache.embedder import Embeddings
from semcache.embedders.model_folder import GRAPH, TOKENIZER, Description, revision_of
from semcache.embedders.onnx import OnnxModel
from semcache.errors import ExportError
from semcache.export import reference
from semcache.export.bert import BertGraph, Shape, read_shape
from semcache.export.weights import read_safetensors

SIMILARITY_MIN: Mapping[str, float] = {"fp32": 0.9999, "int8": 0.99}
_REVISION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Source:
    """A model's folder, as sentence-transformers saves it."""

    folder: Path
    shape: Shape
    window_tokens: int
    revision: str


def read_source(folder: Path) -> Source:
    """Read what a folder says of its model.

    Raises:
        ExportError: it is no model, or none that is built here.
    """
    modules = [str(module["type"]).rpartition(".")[2] for module in _read(folder / "modules.json")]
    if modules[:2] != ["Transformer", "Pooling"] or modules[2:] not in (["Normalize"], []):
        raise ExportError(f"its modules are {modules}; only Transformer, Pooling and Normalize are built here")
    shape = read_shape(_read(folder / "config.json"), _read(folder / "1_Pooling" / "config.json"))
    window = int(_read(folder / "sentence_bert_config.json").get("max_seq_length") or shape.positions)
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise ExportError(f"{weights} is missing")
    revision = hashlib.sha256(weights.read_bytes()).hexdigest()[:_REVISION_DIGITS]
    return Source(folder, shape, min(window, shape.positions), revision)


def export(folder: Path, target: Path, name: str, precision: str) -> Description:
    """Export a model; `target` is replaced.

    Raises:
        ExportError: it cannot be read, compared, or is not faithful; nothing was kept.
    """
    source = read_source(folder)
    texts, expected = reference.vectors(source.folder, source.revision)
    graph = BertGraph(source.shape, read_safetensors(folder / "model.safetensors"), precision).build()
    tokenizer = (folder / TOKENIZER).read_bytes()
    similarities = compare(OnnxModel(graph, tokenizer, source.window_tokens), texts, expected)
    least = float(similarities.min())
    if least < SIMILARITY_MIN[precision]:
        raise ExportError(
            f"{precision}: the least cosine to the original is {least:.4f}, not {SIMILARITY_MIN[precision]}"
        )
    description = Description(
        name=name,
        revision=revision_of(graph, tokenizer),
        precision=precision,
        dimensions=source.shape.width,
        window_tokens=source.window_tokens,
        source_revision=source.revision,
        similarity_min=round(least, 5),
        similarity_mean=round(float(similarities.mean()), 5),
    )
    _keep(target, graph, tokenizer, description)
    return description


def compare(model: OnnxModel, texts: Sequence[str], expected: Embeddings) -> Embeddings:
    """Return the cosines to what is expected, of each text alone and of all together."""
    alone = np.concatenate([model.embed([text])[0] for text in texts])
    together, _ = model.embed(texts)
    return np.concatenate([(alone * expected).sum(axis=1), (together * expected).sum(axis=1)])


def _keep(target: Path, graph: bytes, tokenizer: bytes, description: Description) -> None:
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    (fresh / GRAPH).write_bytes(graph)
    (fresh / TOKENIZER).write_bytes(tokenizer)
    description.write(fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def _read(path: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from None
