"""One command: fit the verifier that is shipped, and write `semcache/verifier/fitted.json`.

    python -m bench.quality.fit --pairs PATH --model FOLDER --about "NAME; TERMS"

The pairs are given by path and stay where they are. What is written holds trees, word counts and a calibration, and a
header with this command and the words of `--about`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.quality import crossfit, recipe, sheet
from bench.quality.boosting import Matrix, Trees
from bench.quality.material import Material, prepare
from semcache.embedders import model_folder
from semcache.logistic import Curve, fit
from semcache.verifier import fitted
from semcache.verifier.features import FEATURES

OUT = Path(fitted.__file__).with_name(fitted.FILE)
# Labels are wrong, too, and near the top the more so. One reader read 25 pairs of each band of score that a label calls
# different and no guard refuses, and found this share of them truly so (5, 5, 7, 19 and 21 of 25; a changed number,
# place or purpose counted as different, another wording did not).
AUDIT = ((1.5, 0.20), (0.0, 0.20), (-1.5, 0.28), (-3.0, 0.76), (-np.inf, 0.84))
# Before any label of its own a namespace is taken to be like the pairs of the fit, give or take so much: the log odds
# of a score may be off by 0.5 (at 95 % right: 92 to 97), and what a unit of score means by a fifth.
DEVIATION_INTERCEPT = 0.5
DEVIATION_SLOPE_SHARE = 0.2


def main() -> None:
    """Fit, and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality.fit", description=__doc__)
    parser.add_argument(
        "--pairs", type=Path, required=True, help="labelled pairs, JSON lines or tab-separated, .gz too"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the export that serves")
    parser.add_argument("--about", required=True, help="name and terms of the pairs, for the header")
    parser.add_argument("--kept", type=Path, default=Path(".weir/bench"), help="where embeddings are kept")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    material = prepare(options.pairs, options.model, options.kept)
    trees = recipe.fit(material.labelled, material.near, material.is_nearest)
    curve = calibrate(material)
    about = {
        "command": "python -m bench.quality.fit",
        "data": options.about,
        "pairs": len(material.labelled),
        "texts": len(material.corpus.texts),
        "embedding_model": model_folder.read(options.model)[0].identity.slug,
    }
    options.out.write_text(render(describe(about, trees, curve, material)), encoding="utf-8")


def calibrate(material: Material) -> Curve:
    """Return the curve of scores that their models had not seen, over nearest neighbours with a known relation."""
    _, scores = crossfit.scores(material)
    near = material.near
    use = near.is_known & ~near.is_vetoed & (near.rows[:, 0] >= 0.7) & material.is_first
    scores, rights = scores[use], np.where(near.is_same[use], 1.0, 1.0 - _truly_different(scores[use]))
    pivot = float(np.median(scores))
    vague = Curve(pivot, 0.0, 1.0, 100.0, 100.0)
    found = fit(scores, rights, vague)
    return Curve(
        round(pivot, 4),
        round(found.intercept, 4),
        round(found.slope, 4),
        round(DEVIATION_INTERCEPT**2, 6),
        round((DEVIATION_SLOPE_SHARE * found.slope) ** 2, 6),
    )


def _truly_different(scores: Matrix) -> Matrix:
    floors, shares = zip(*AUDIT, strict=True)
    return np.select([scores > floor for floor in floors], shares)


def describe(about: dict[str, Any], trees: Trees, curve: Curve, material: Material) -> dict[str, Any]:
    """Return what the file holds, without the scale, which is its fingerprint."""
    return {
        "about": about,
        "features": FEATURES,
        "slope": recipe.SLOPE,
        "curve": asdict(curve),
        "documents": len(material.readings),
        "documents_min": sheet.DOCUMENTS_MIN,
        "splits": [[split.tree, split.feature, _short(split.threshold), split.left_leaves] for split in trees.splits],
        "leaves": [[_short(leaf) for leaf in tree] for tree in trees.leaves],
        "words": sheet.count_words(material.readings),
    }


def render(content: dict[str, Any]) -> str:
    """Return the file: one key a line, so that a change of one part is seen as one."""
    scale = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    lines = [f"{json.dumps(key)}: {_compact(value)}" for key, value in {**content, "scale": scale}.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 50:
        return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


if __name__ == "__main__":
    main()
