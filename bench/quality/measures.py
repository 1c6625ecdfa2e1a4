"""What is measured of a score on the stream, and how sure it is."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from bench.quality import gate
from bench.quality.boosting import Labels, Matrix
from bench.quality.data import Corpus, folds
from bench.quality.material import Material
from bench.quality.protocol import Outcome, Stream
from semcache.threshold import Basis, Target
from semcache.verifier.verdict import Verifier

HIT_RATES = (0.037, 0.068, 0.117, 0.169)
STRICT_ERRORS = (0.005, 0.01, 0.023)
TARGETS = (
    *(Target(error, Basis.REQUESTS) for error in (0.005, 0.01, 0.02, 0.05)),
    *(Target(error, Basis.HITS) for error in (0.08, 0.1, 0.15)),
)
COMPARED = Target(0.01, Basis.REQUESTS)
LABELLED_SHARE = 0.1
_DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Streamed:
    """One method in one order: what each hit rate and each strict error came to."""

    at_hit_rate: list[Outcome]
    threshold: list[float]
    at_strict_error: list[Outcome]


def orders(count: int, texts: int) -> list[list[int]]:
    """Return the order of the file, and shuffled ones."""
    return [list(range(texts)), *(random.Random(seed).sample(range(texts), texts) for seed in range(1, count))]


def streamed(stream: Stream, scores: Matrix) -> Streamed:
    """Run a method at every hit rate and every strict error."""
    rated = [stream.at_hit_rate(scores, rate) for rate in HIT_RATES]
    return Streamed(
        [outcome for _, outcome in rated],
        [threshold for threshold, _ in rated],
        [stream.at_strict_error(scores, error)[1] for error in STRICT_ERRORS],
    )


def ratio_interval(corpus: Corpus, ours: Sequence[Outcome], cosine: Sequence[Outcome]) -> tuple[float, float, float]:
    """Return ours ÷ cosine's label-proven wrong hits over all orders, with a 90 % bootstrap interval.

    What is drawn anew are groups of texts that labels join: wrong hits within one are not independent.
    """
    groups = _groups(corpus)
    counts = np.zeros((2, max(groups) + 1))
    for side, outcomes in enumerate((ours, cosine)):
        for outcome in outcomes:
            np.add.at(counts[side], [groups[request] for request in outcome.known_wrong_requests], 1)
    used = counts[:, counts.any(axis=0)]
    draws = np.random.default_rng(1).integers(used.shape[1], size=(_DRAWS, used.shape[1]))
    sums = used[:, draws].sum(axis=2)
    low, high = np.quantile(sums[0] / np.maximum(sums[1], 1), [0.05, 0.95])
    return float(used[0].sum() / used[1].sum()), float(low), float(high)


def _groups(corpus: Corpus) -> list[int]:
    return folds(corpus, len(corpus.texts), 0)  # as many folds as texts: each group has its own


def pair_quality(scores: Matrix, is_same: Labels) -> dict[str, float]:
    """Return what a score is worth on labelled pairs, before any veto."""
    precision, recall, _ = precision_recall_curve(is_same, scores)
    return {
        "auc": float(roc_auc_score(is_same, scores)),
        "average_precision": float(average_precision_score(is_same, scores)),
        "recall_at_precision_90": float(recall[precision >= 0.9].max()),
    }


def rolled(
    material: Material, scores: Matrix, streams: Sequence[Stream], targets: Sequence[Target]
) -> list[dict[str, Any]]:
    """Return what the rolling gate came to for every target, over all orders."""
    rows = []
    for target in targets:
        runs = [
            gate.roll(stream, material.near, scores, target, share=LABELLED_SHARE, seed=seed)
            for seed, stream in enumerate(streams)
        ]
        errors = [run.error if target.basis is Basis.REQUESTS else 1 - run.precision for run in runs]
        rows.append(
            {
                "target": target.error,
                "basis": target.basis.value,
                "hit_rate": float(np.mean([run.hit_rate for run in runs])),
                "error": float(np.mean(errors)),
                "error_worst_seed": max(errors),
                "precision": float(np.mean([run.precision for run in runs])),
                "labels": float(np.mean([run.labels for run in runs])),
                "labels_most": max(run.labels for run in runs),
            }
        )
    return rows


def candidate_us(verifier: Verifier, material: Material, count: int = 2_000) -> float:
    """Return the CPU time, in µs, that guards and verifier take for one candidate: the median of five rounds."""
    texts = material.corpus.texts
    pairs = [(texts[a], texts[b], row[0]) for a, b, row in _first(material, count)]
    times = []
    for _ in range(5):
        started = time.process_time()
        for a, b, similarity in pairs:
            verifier.verify(a, b, similarity)
        times.append((time.process_time() - started) / len(pairs) * 1e6)
    return float(np.median(times))


def _first(material: Material, count: int) -> list[tuple[int, int, list[float]]]:
    near = material.near
    return list(zip(near.a[:count].tolist(), near.b[:count].tolist(), near.rows[:count].tolist(), strict=True))
