"""Encoders on one core: int8 and fp32 exports, and sentence-transformers where an interpreter has it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.semcache.prompts import Vectors, questions
from semcache.embedders import model_folder
from semcache.embedders.onnx import OnnxModel
from semcache.export.reference import WORDS

LENGTHS = (3, 8, 20, 60, 120, 240)
BATCH = 16
# Tokens of sixteen questions as people ask them: most are short, some are not.
MIXED = (7, 9, 10, 10, 11, 12, 12, 13, 13, 14, 15, 16, 18, 21, 26, 38)

# Run by another interpreter, which need not have Weir: prints p50 in ms by length for texts given on stdin.
_ORIGINAL = """
import json, sys, time, statistics, torch, sentence_transformers
torch.set_num_threads(1)
model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
asked = json.load(sys.stdin)
figures = {}
for name, texts in asked["texts"].items():
    times = []
    for number in range(asked["rounds"] + 5):
        before = time.perf_counter()
        vectors = model.encode(texts[number % len(texts)], normalize_embeddings=True, show_progress_bar=False)
        times.append((time.perf_counter() - before) * 1000)
    figures[name] = statistics.median(times[5:])
print(json.dumps(figures))
"""

Encode = Callable[[Sequence[str]], Vectors]


def text_of(tokens: int) -> str:
    """Return a text of about so many tokens."""
    words = tokens - 2 - tokens // 12  # its own marks, and words of several tokens
    return " ".join((WORDS * 20)[:words])


def encoder(folder: Path) -> Encode:
    """Return the encoder of an export, on one thread."""
    description, graph, tokenizer = model_folder.read(folder)
    model = OnnxModel(graph, tokenizer, description.window_tokens)
    return lambda texts: model.embed(texts)[0]


def measure(folders: dict[str, Path], source: Path | None, original: str, rounds: int) -> dict[str, Any]:
    """Return p50 in ms by length, cosines of int8 to fp32, and texts a second one at a time, together, and of mixed lengths."""
    texts = {str(length): [text_of(length)] for length in LENGTHS} | {"question": list(questions(50))}
    encoders = {name: encoder(folder) for name, folder in folders.items()}
    figures: dict[str, Any] = {"p50_ms": {name: {} for name in encoders}, "cosine": {}, "per_second": {}}
    for name, asked in texts.items():
        taken: dict[str, list[float]] = {each: [] for each in encoders}
        for number in range(rounds + 5):
            for each, encode in encoders.items():  # alternating, so that both have the same neighbours
                taken[each].append(_time(lambda: encode([asked[number % len(asked)]])))  # noqa: B023 - called at once
        for each, times in taken.items():
            figures["p50_ms"][each][name] = statistics.median(times[5:])
        cosines = [float((encoders["int8"]([text]) * encoders["fp32"]([text])).sum()) for text in asked]
        figures["cosine"][name] = min(cosines)
    for each, encode in encoders.items():
        figures["per_second"][each] = _per_second(encode, list(questions(BATCH * 8)))
    if original and source is not None:
        asked_json = json.dumps({"texts": texts, "rounds": rounds // 4})
        command = [original, "-c", _ORIGINAL, str(source)]
        told = subprocess.run(command, input=asked_json, capture_output=True, text=True, check=True, timeout=600)
        figures["p50_ms"]["sentence-transformers"] = json.loads(told.stdout.splitlines()[-1])
    return figures


def encode_all(folder: Path, texts: Sequence[str]) -> Vectors:
    """Return the vectors of many texts."""
    encode = encoder(folder)
    parts = []
    for start in range(0, len(texts), BATCH):
        parts.append(encode(texts[start : start + BATCH]))
        if start % 1024 == 0:
            sys.stderr.write(f"\rembedded {start} of {len(texts)}")
    sys.stderr.write("\n")
    return np.concatenate(parts)


def _per_second(encode: Encode, texts: list[str]) -> dict[str, float]:
    alone = _time(lambda: [encode([text]) for text in texts])
    together = _time(lambda: [encode(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)])
    mixed = [text_of(length) for length in MIXED]
    unlike = _time(lambda: [encode(mixed) for _ in range(BATCH)])
    rates = {"alone": len(texts) / alone, "together": len(texts) / together, "mixed": BATCH * len(mixed) / unlike}
    return {name: rate * 1000 for name, rate in rates.items()}


def _time(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return (time.perf_counter() - before) * 1000
