"""What a step of a lookup takes when it is repeated, and right after an inference, when nothing of it is in the caches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.semcache.embedding import encoder
from bench.semcache.filling import SCOPE
from bench.semcache.prompts import paraphrases, questions
from semcache.deixis import is_deictic
from semcache.entry import EntryId
from semcache.invalidation import Moment
from semcache.scope import entry_id
from semcache.tickets import Ticket, new_nonce, write
from semcache.verifier import fitted
from semcache.verifier.reading import read

Steps = Mapping[str, Callable[[int], object]]


def measure(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return medians in µs of each step, repeated and after an inference."""
    encode, asked = encoder(folder), paraphrases(rounds * 2)
    steps = _steps(rounds * 2)
    repeated = {name: [_time(step, number) for number in range(rounds)] for name, step in steps.items()}
    after: dict[str, list[float]] = {name: [] for name in steps}
    # No prompt twice: what was read is remembered.
    for number in range(rounds, rounds * 2):
        for name, step in steps.items():
            encode([asked[number]])
            after[name].append(_time(step, number))
    return {
        name: {"repeated_us": statistics.median(repeated[name]), "after_us": statistics.median(after[name])}
        for name in steps
    }


def _steps(count: int) -> Steps:
    prompts, candidates, verifier = paraphrases(count), questions(count), fitted.load().verifier
    entry = EntryId(entry_id(SCOPE, prompts[0]))
    return {
        "the id of a prompt": lambda number: entry_id(SCOPE, prompts[number]),
        "whether it stands by itself": lambda number: is_deictic(prompts[number]),
        "taking a prompt apart": lambda number: read(prompts[number]),
        "the verdict on a candidate": lambda number: verifier.verify(prompts[number], candidates[number], 0.98),
        "the name of a lookup": lambda _: write(Ticket("bench", SCOPE, Moment(), entry, 3.2, new_nonce(), 0.98)),
    }


def _time(step: Callable[[int], object], number: int) -> float:
    before = time.perf_counter()
    step(number)
    return (time.perf_counter() - before) * 1e6
