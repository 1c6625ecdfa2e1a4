"""One command: how often the cache is right, against plain cosine in the same run.

    python -m bench.quality --pairs PATH --model FOLDER [--negations PATH] [--paraphrases PATH]

Every score is by a model that saw neither side of the pair. Tables are printed, figures kept as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.quality import adversarial, crossfit, late, measures, tables
from bench.quality.boosting import Matrix
from bench.quality.material import Material, prepare
from bench.quality.protocol import Stream
from semcache.embedders import model_folder
from semcache.verifier import fitted

RESULTS = Path(__file__).parents[1] / "results" / "local"
# Searching thresholds takes most of the time, and orders differ little; the gate runs in all of them.
_ORDERS_SEARCHED = 3
# The thresholds of this hit rate judge the pairs made to mislead.
_MISLEADING_AT = 0.117
PARTS = ("pairs", "stream", "misleading", "gate")


def main() -> None:
    """Measure, print and keep: each part as soon as it is known."""
    options = parse()
    material = prepare(options.pairs, options.model, options.kept)
    RESULTS.mkdir(parents=True, exist_ok=True)
    out = options.out or RESULTS / f"quality-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    console = Console(width=130)
    figures: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    for part, found in measure(material, options):
        figures[part] = found
        for table in tables.of(part, figures):
            console.print(table)
        out.write_text(json.dumps(figures, indent=1) + "\n")
    console.print(f"kept in {out}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("what", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--pairs", type=Path, required=True, help="labelled pairs, JSON lines or tab-separated, .gz too"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the export that serves")
    parser.add_argument("--negations", type=Path, help="sentence pairs, label 1: the second negates the first")
    parser.add_argument("--paraphrases", type=Path, help="JSON of questions with their paraphrases")
    parser.add_argument("--late", action="store_true", help="late features, too")
    parser.add_argument("--orders", type=int, default=5, help="of the stream; the first is that of the file")
    parser.add_argument("--kept", type=Path, default=Path(".weir/bench"), help="where embeddings are kept")
    parser.add_argument("--out", type=Path, help="file of the figures; parts that it has already are kept")
    return parser.parse_args()


def measure(material: Material, options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield the parts that were asked for, each with its name."""
    labelled, near = crossfit.scores(material)
    cosine = material.near.rows[:, 0]
    methods = {
        "cosine": cosine,
        "cosine and guards": _vetoed(material, cosine),
        "trees": near,
        "trees and guards": _vetoed(material, near),
    }
    if options.late:
        _, wider = crossfit.scores(late.extended(material, options.model, options.kept))
        methods["trees with late features and guards"] = _vetoed(material, wider)
    orders = measures.orders(options.orders, len(material.corpus.texts))
    streams = [Stream(material.neighbours, material.near, order) for order in orders]
    yield "about", _about(material, options)
    if "pairs" in options.what:
        scores = (("cosine", material.labelled.rows[:, 0]), ("trees", labelled))
        yield "pairs", {name: measures.pair_quality(each, material.labelled.is_same) for name, each in scores}
    if "stream" in options.what:
        runs = {
            name: [measures.streamed(stream, scores) for stream in streams[:_ORDERS_SEARCHED]]
            for name, scores in methods.items()
        }
        yield "stream", {name: _stream(material, each, runs["cosine"]) for name, each in runs.items()}
    if "misleading" in options.what:
        levels = [streams[0].at_hit_rate(methods[name], _MISLEADING_AT)[0] for name in ("cosine", "trees and guards")]
        yield "misleading", [asdict(group) for group in _misleading(material, options, levels)]
    if "gate" in options.what:
        for name, targets in (("cosine", [measures.COMPARED]), ("trees and guards", measures.TARGETS)):
            yield f"gate: {name}", measures.rolled(material, methods[name], streams, targets)


def _about(material: Material, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(),
        "embedding_model": model_folder.read(options.model)[0].identity.slug,
        "texts": len(material.corpus.texts),
        "classes": len(set(material.corpus.classes)),
        "labelled_pairs": len(material.labelled),
        "orders": min(options.orders, _ORDERS_SEARCHED),
        "orders_of_gate": options.orders,
        "candidate_us": measures.candidate_us(fitted.load().verifier, material),
    }


def _vetoed(material: Material, scores: Matrix) -> Matrix:
    return np.where(material.near.is_vetoed, -np.inf, scores)


def _stream(
    material: Material, runs: list[measures.Streamed], cosine: list[measures.Streamed]
) -> dict[str, list[dict[str, Any]]]:
    by_rate = []
    for at, rate in enumerate(measures.HIT_RATES):
        ours = [run.at_hit_rate[at] for run in runs]
        ratio, low, high = measures.ratio_interval(material.corpus, ours, [run.at_hit_rate[at] for run in cosine])
        by_rate.append(
            {
                "hit_rate": rate,
                "known_wrong": float(np.mean([one.known_wrong for one in ours])),
                "known_precision": float(np.mean([one.known_precision for one in ours])),
                "strict_error": float(np.mean([one.strict_error for one in ours])),
                "known_wrong_ratio": ratio,
                "known_wrong_ratio_interval": [low, high],
            }
        )
    by_error = []
    for at, error in enumerate(measures.STRICT_ERRORS):
        rates, base = (np.array([run.at_strict_error[at].hit_rate for run in each]) for each in (runs, cosine))
        ratios = rates / base
        by_error.append(
            {
                "strict_error": error,
                "hit_rate": float(rates.mean()),
                "hit_rate_ratio": float(rates.mean() / base.mean()),
                "hit_rate_ratio_orders": [float(ratios.min()), float(ratios.max())],
            }
        )
    return {"at_hit_rate": by_rate, "at_strict_error": by_error}


def _misleading(material: Material, options: argparse.Namespace, levels: Sequence[float]) -> list[adversarial.Accepted]:
    trees, texts = adversarial.held_out(material)
    groups = adversarial.groups(texts, options.negations, options.paraphrases)
    return [
        adversarial.accepted(material, trees, name, pairs, (levels[0], levels[1]))
        for name, pairs in groups.items()
        if pairs
    ]


if __name__ == "__main__":
    main()
