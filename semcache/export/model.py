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
from semcache.embedders import model_folder
from semcache.embedders.model_folder import GRAPH, TOKENIZER, Description
from semcache.embedders.onnx import OnnxModel
from semcache.errors import ExportError
from semcache.export import reference
from semcache.export.bert import BertGraph, NotBuiltHereError, Shape, read_shape
from semcache.export.traced import trace
from semcache.export.weights import read_safetensors

SIMILARITY_MIN: Mapping[str, float] = {"fp32": 0.9999, "int8": 0.99}
WEIGHTS = "model.safetensors"
_REVISION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Built:
    """A graph and what belongs to it."""

    graph: bytes
    tokenizer: bytes
    window_tokens: int


def export(folder: Path, target: Path, name: str, precision: str) -> Description:
    """Export a model; `target` is replaced.

    Raises:
        ExportError: it cannot be read, compared, or is not faithful; nothing was kept.
    """
    revision = revision_of(folder)
    texts, expected = reference.vectors(folder, revision)
    built = build(folder, precision)
    similarities = compare(OnnxModel(built.graph, built.tokenizer, built.window_tokens), texts, expected)
    least = float(similarities.min())
    if not least >= SIMILARITY_MIN[precision]:  # so that NaN is refused, too
        raise ExportError(
            f"{precision}: the least cosine to the original is {least:.4f}, not {SIMILARITY_MIN[precision]}"
        )
    description = Description(
        name=name,
        revision=model_folder.revision_of(built.graph, built.tokenizer),
        precision=precision,
        dimensions=expected.shape[1],
        window_tokens=built.window_tokens,
        source_revision=revision,
        similarity_min=round(least, 5),
        similarity_mean=round(float(similarities.mean()), 5),
    )
    _keep(target, built, description)
    return description


def build(folder: Path, precision: str) -> Built:
    """Build the graph by hand, or have it traced.

    Raises:
        ExportError: neither can be done.
    """
    try:
        shape, window = read_source(folder)
    except NotBuiltHereError as error:
        if precision != "fp32":
            raise ExportError(f"{precision} is built for BERT alone, and {error}; --precision fp32 works") from None
        traced = trace(folder)
        return Built(traced.graph, traced.tokenizer, traced.window_tokens)
    graph = BertGraph(shape, read_safetensors(folder / WEIGHTS), precision).build()
    return Built(graph, (folder / TOKENIZER).read_bytes(), window)


def read_source(folder: Path) -> tuple[Shape, int]:
    """Read what a folder says of its model: its shape, and the tokens that it reads.

    Raises:
        NotBuiltHereError: it is a model, but none that is built by hand.
        ExportError: it is no model.
    """
    modules = [str(module["type"]).rpartition(".")[2] for module in _read(folder / "modules.json")]
    if modules[:2] != ["Transformer", "Pooling"] or modules[2:] not in (["Normalize"], []):
        raise NotBuiltHereError(f"its modules are {modules}, not Transformer, Pooling and Normalize")
    shape = read_shape(_read(folder / "config.json"), _read(folder / "1_Pooling" / "config.json"))
    said = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    window = said or _read(folder / "tokenizer_config.json").get("model_max_length") or shape.positions
    return shape, min(int(window), shape.positions)


def revision_of(folder: Path) -> str:
    """Return a digest of a model's weights.

    Raises:
        ExportError: there are none.
    """
    digest = hashlib.sha256()
    weights = [folder / WEIGHTS] if (folder / WEIGHTS).exists() else sorted(folder.rglob("*.safetensors"))
    for path in weights:
        digest.update(path.read_bytes())
    if not weights:
        raise ExportError(f"{folder / WEIGHTS} is missing")
    return digest.hexdigest()[:_REVISION_DIGITS]


def compare(model: OnnxModel, texts: Sequence[str], expected: Embeddings) -> Embeddings:
    """Return the cosines to what is expected, of each text alone and of all together."""
    alone = np.concatenate([model.embed([text])[0] for text in texts])
    together, _ = model.embed(texts)
    return np.concatenate([(alone * expected).sum(axis=1), (together * expected).sum(axis=1)])


def _keep(target: Path, built: Built, description: Description) -> None:
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    (fresh / GRAPH).write_bytes(built.graph)
    (fresh / TOKENIZER).write_bytes(built.tokenizer)
    description.write(fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def _read(path: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from None
