"""What an export must come near to: vectors of sentence-transformers, made now or recorded."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semcache.embedder import Embeddings
from semcache.errors import ExportError

RECORDED = Path(__file__).parent / "recorded"

WORDS = [
    "how",
    "do",
    "i",
    "reset",
    "the",
    "password",
    "of",
    "my",
    "account",
    "when",
    "the",
    "e-mail",
    "address",
    "is",
    "no",
    "longer",
    "mine",
    "and",
    "nobody",
    "answers",
]

TEXTS: Sequence[str] = (
    "How do I reset my password?",
    "What is the capital of France",
    "Wie spät ist es in Zürich?",
    "你好,世界: 42 × π",
    "def f(x):\n    return x ** 2  # square",
    *(" ".join((WORDS * 40)[:length]) for length in (10, 20, 60, 120, 240, 400)),
)
"""From 5 tokens to beyond any window of 256; several scripts, code."""


def load_original(model: str) -> Any:  # noqa: ANN401 - a class of a package that need not be there
    """Load a model as sentence-transformers does.

    Raises:
        ExportError: the package is not installed, or does not load this.
    """
    try:
        package = importlib.import_module("sentence_transformers")
    except ImportError:
        raise ExportError("sentence-transformers is not installed (pip install sentence-transformers onnx)") from None
    try:
        return package.SentenceTransformer(model, device="cpu")
    except (OSError, ValueError) as error:
        raise ExportError(f"sentence-transformers does not load {model}: {str(error).splitlines()[0]}") from error


def vectors(folder: Path, revision: str) -> tuple[Sequence[str], Embeddings]:
    """Return texts and their vectors by the original model.

    Raises:
        ExportError: there is neither sentence-transformers nor a record for these weights.
    """
    recorded = RECORDED / f"{revision}.json"
    if recorded.exists():
        return _read(recorded)
    try:
        model = load_original(str(folder))
    except ExportError as error:
        raise ExportError(
            f"nothing to compare with: {error}; and no vectors are recorded for weights {revision}"
        ) from None
    return TEXTS, np.asarray(model.encode(list(TEXTS), normalize_embeddings=True), np.float32)


def record(folder: Path, revision: str) -> Path:
    """Write the vectors of a model down; needs sentence-transformers."""
    texts, embeddings = vectors(folder, revision)
    RECORDED.mkdir(exist_ok=True)
    path = RECORDED / f"{revision}.json"
    coded = [base64.b64encode(np.asarray(row, "<f4").tobytes()).decode() for row in embeddings]
    path.write_text(json.dumps({"texts": list(texts), "vectors": coded}, ensure_ascii=False, indent=1) + "\n")
    return path


def _read(path: Path) -> tuple[Sequence[str], Embeddings]:
    recorded = json.loads(path.read_text())
    rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in recorded["vectors"]]
    return recorded["texts"], np.stack(rows).astype(np.float32)
