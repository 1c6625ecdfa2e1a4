"""Late features: how well each token of one prompt is met by some token of the other. An option that is measured.

    S = A Bᵀ, the cosines of all token vectors; a token's match is the largest of its row or column

What is not met weighs by how rare it is. Serving them asks for the token vectors of every entry: some 16 × 384 half
floats, 12 kB, where the lexical features need the prompt alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from bench.quality.boosting import Matrix
from bench.quality.material import Material
from bench.quality.sheet import Sheet
from semcache.embedders import model_folder
from semcache.embedders.onnx import OnnxModel
from semcache.verifier.fitted import inverse_frequency

# Below it a token says little, and whether the other side has it says nothing.
_RARE = 2.5


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one text, without those that frame it."""

    ids: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    weights: Matrix


def extended(material: Material, model: Path, kept: Path) -> Material:
    """Return the material with late features beside the others."""
    tokens = read_tokens(material.corpus.texts, model, kept)
    return replace(material, labelled=_wider(material.labelled, tokens), near=_wider(material.near, tokens))


def _wider(sheet: Sheet, tokens: Sequence[Tokens]) -> Sheet:
    late = [compare(tokens[a], tokens[b]) for a, b in zip(sheet.a.tolist(), sheet.b.tolist(), strict=True)]
    return replace(sheet, rows=np.column_stack([sheet.rows, np.array(late)]))


def read_tokens(texts: Sequence[str], model: Path, kept: Path) -> list[Tokens]:
    """Return the tokens of every text; vectors are kept in the folder `kept` by model and texts."""
    description, graph, tokenizer_bytes = model_folder.read(model)
    tokenizer = Tokenizer.from_buffer(tokenizer_bytes)
    tokenizer.no_padding()
    tokenizer.enable_truncation(description.window_tokens)
    ids = [np.array(encoding.ids[1:-1]) for encoding in tokenizer.encode_batch(list(texts))]
    name = hashlib.sha256(json.dumps([description.identity.slug, *texts]).encode()).hexdigest()[:24]
    path = kept / f"{name}-tokens.npy"
    if not path.exists():
        encoder = OnnxModel(graph, tokenizer_bytes, description.window_tokens)
        np.save(path, np.concatenate([_unit(encoder.embed_tokens(text)[1:-1]) for text in texts]).astype(np.float16))
    vectors = np.split(np.load(path), np.cumsum([len(one) for one in ids])[:-1])
    counts = Counter(token for one in ids for token in set(one.tolist()))
    weights = {token: inverse_frequency(count, len(texts)) for token, count in counts.items()}
    return [
        Tokens(one, vector.astype(np.float32), np.array([weights[token] for token in one.tolist()]))
        for one, vector in zip(ids, vectors, strict=True)
    ]


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = vectors / np.maximum(lengths, 1e-9)
    return unit


def compare(a: Tokens, b: Tokens) -> list[float]:
    """Return the late features of a pair."""
    if not len(a.ids) or not len(b.ids):
        return [0.0] * 19
    cosines = a.vectors @ b.vectors.T
    best_a, best_b = cosines.max(axis=1), cosines.max(axis=0)
    lost_a, lost_b = ~np.isin(a.ids, b.ids), ~np.isin(b.ids, a.ids)
    rare_a, rare_b = _rare_match(a, best_a, lost_a), _rare_match(b, best_b, lost_b)
    both = np.sort(np.concatenate([best_a, best_b]))
    return [
        *_side(a, best_a, lost_a),
        *_side(b, best_b, lost_b),
        float(both[1]),
        rare_a,
        rare_b,
        min(rare_a, rare_b),
        _lost_to_lost(cosines[lost_a][:, lost_b], any_lost=bool(lost_a.any() or lost_b.any())),
    ]


def _side(tokens: Tokens, best: npt.NDArray[np.float32], lost: npt.NDArray[np.bool_]) -> list[float]:
    missed = tokens.weights * (1 - best)
    return [
        float(best.mean()),
        float((best * tokens.weights).sum() / tokens.weights.sum()),
        float(best.min()),
        float(missed.sum()),
        float(missed.max()),
        float(lost.sum()),
        float(tokens.weights[lost].sum()),
    ]


def _rare_match(tokens: Tokens, best: npt.NDArray[np.float32], lost: npt.NDArray[np.bool_]) -> float:
    rare = lost & (tokens.weights > _RARE)
    return float((best[rare] * tokens.weights[rare]).sum() / tokens.weights[rare].sum()) if rare.any() else 1.0


def _lost_to_lost(cosines: npt.NDArray[np.float32], *, any_lost: bool) -> float:
    """Return how well what only one side has is met by what only the other has."""
    if cosines.size:
        return float(cosines.max(axis=1).mean())
    return 0.5 if any_lost else 1.0
