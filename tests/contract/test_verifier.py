"""What is shipped, together: the real model's similarities, guards, trees and the calibration to start from."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from semcache.calibration import Gate, GateSettings
from semcache.deixis import is_deictic
from semcache.embedders.onnx import OnnxEmbedder
from semcache.policy import Match, Policy, Ruling, rule
from semcache.prompt import normalise
from semcache.settings import EmbedderSettings
from semcache.threshold import Target
from semcache.verifier import fitted
from serving.clock import SystemClock
from tests.fakes.models import model_folder

PAIRS = Path(__file__).parents[1] / "data" / "verifier_pairs.tsv"


@pytest.fixture
async def embedder() -> AsyncIterator[OnnxEmbedder]:
    embedder = OnnxEmbedder(model_folder("int8"), EmbedderSettings(), SystemClock())
    await embedder.start()
    yield embedder
    await embedder.stop()


async def judge(embedder: OnnxEmbedder, error: float) -> list[tuple[dict[str, str], Ruling]]:
    shipped = fitted.load()
    gate = Gate(GateSettings(Target(error)), shipped.curve, shipped.scale)
    with PAIRS.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    sides = [[normalise(row[side]) for row in rows] for side in ("prompt", "candidate")]
    vectors = [(await embedder.embed(texts)).embeddings for texts in sides]
    rulings = []
    for row, prompt, candidate, a, b in zip(rows, *sides, *vectors, strict=True):
        similarity = float(a @ b)
        verdict = shipped.verifier.verify(prompt, candidate, similarity)
        match = Match(similarity, verdict, gate.peek(verdict.score))
        deictic = is_deictic(prompt)
        rulings.append((row, rule(Policy(), match, is_deictic=deictic, confidence_min=0.0, draw=0.9)))
    return rulings


async def test_nothing_that_must_not_be_served_is_served(embedder: OnnxEmbedder) -> None:
    rulings = await judge(embedder, 0.05)

    assert [row for row, ruling in rulings if ruling.is_hit and row["fits"] == "0"] == []


async def test_most_of_what_is_only_worded_otherwise_is_served(embedder: OnnxEmbedder) -> None:
    rulings = await judge(embedder, 0.05)
    worded = [ruling.is_hit for row, ruling in rulings if row["fits"] == "1" and row["category"] != "languages"]

    assert sum(worded) >= 0.5 * len(worded)


async def test_a_stricter_target_serves_less(embedder: OnnxEmbedder) -> None:
    hits = [sum(ruling.is_hit for _, ruling in await judge(embedder, error)) for error in (0.02, 0.05, 0.1)]

    assert hits == sorted(set(hits))
