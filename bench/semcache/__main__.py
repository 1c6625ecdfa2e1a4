"""One command: how fast the semantic cache is on one core, what it costs in memory, and how it does at a million entries.

    python -m bench.semcache [embed] [steps] [service] [large] [--original PYTHON --source FOLDER]

`--original` is an interpreter with sentence-transformers, `--source` the model's own folder. What is compared runs in
one call of this command, on one core. Figures are kept as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.semcache import embedding, filling, service, steps, tables
from bench.semcache.prompts import Vectors, paraphrases, questions, spread
from semcache.embedder import ModelIdentity
from semcache.embedders import model_folder
from semcache.export.default import NAME, ensure
from semcache.settings import EdgeSettings

RESULTS = Path(__file__).parents[1] / "results" / "local"
MODELS = Path(".weir/models")
# Questions that are really embedded; further entries are these with jitter.
_EMBEDDED = 4_000
# Entries of the large store that were used since its index was built.
_USED = 6_000


def main() -> None:
    """Measure what was asked for, print tables and keep the figures."""
    options = parse()
    folders = {precision: ensure(MODELS) / f"{NAME}-{precision}" for precision in ("int8", "fp32")}
    figures: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(),
        # Where something lies is of this machine and nobody else's.
        "options": {k: str(v) for k, v in vars(options).items() if k not in {"original", "source", "folder", "out"}},
    }
    if "embed" in options.what:
        filling.pin(options.core)
        figures["embed"] = embedding.measure(folders, options.source, options.original, options.rounds)
    if "steps" in options.what:
        filling.pin(options.core)
        figures["steps"] = steps.measure(folders["int8"], options.rounds)
    if {"service", "large"} & set(options.what):
        filling.pin(options.core)
        vectors = embedding.encode_all(folders["int8"], questions(_EMBEDDED))
        identity = model_folder.read(folders["int8"])[0].identity
        with tempfile.TemporaryDirectory() as name:
            if "service" in options.what:
                folder = options.folder or Path(name)
                filled = asyncio.run(fill_store(folder, identity, vectors, options.entries))
                if not options.fill_only:
                    figures["service"] = filled | asyncio.run(ask_service(folder, options))
            if "large" in options.what:
                folder = (options.folder or Path(name)) / "large"
                figures["large"] = asyncio.run(measure_large(folder, identity, vectors, options))
    console = Console(width=120)
    for table in tables.all_of(figures):
        console.print(table)
    RESULTS.mkdir(parents=True, exist_ok=True)
    out = options.out or RESULTS / f"semcache-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    out.write_text(json.dumps(figures, indent=1) + "\n")
    console.print(f"kept in {out}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.semcache", description=__doc__)
    parser.add_argument("what", nargs="*", default=["embed", "service"], help="embed, steps, service, large")
    parser.add_argument("--entries", type=int, default=100_000, help="entries behind the service")
    parser.add_argument("--large", type=int, default=1_000_000, help="entries of the large store")
    parser.add_argument("--rounds", type=int, default=200, help="embeddings of each kind")
    parser.add_argument("--lookups", type=int, default=1_000, help="lookups of each kind")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a run at a fixed rate")
    parser.add_argument("--core", type=int, default=0, help="of what is measured; callers are on another")
    parser.add_argument("--load-core", type=int, default=1, help="of the callers")
    parser.add_argument("--original", default="", help="interpreter that has sentence-transformers")
    parser.add_argument("--source", type=Path, help="folder of the original model")
    parser.add_argument("--folder", type=Path, help="where the filled store is kept for the next run; default: nowhere")
    parser.add_argument("--fill-only", action="store_true", help="fill that folder, and measure nothing else")
    parser.add_argument(
        "--realtime", action="store_true", help="go before everything else on a busy machine; root only"
    )
    parser.add_argument("--out", type=Path, help="file of the figures")
    return parser.parse_args()


async def fill_store(folder: Path, identity: ModelIdentity, vectors: Vectors, entries: int) -> dict[str, Any]:
    """Fill a store, unless the folder has it from before; return what that took."""
    kept, now = folder / f"filled-{entries}.json", time.time()  # noqa: TID251 - entries need a date
    if kept.exists():
        known: dict[str, Any] = json.loads(kept.read_text())
        return known
    wide = spread(vectors, entries)
    asked = spread(vectors, len(vectors) + 300, seed=11)[-300:]
    figures: dict[str, Any] = {"entries": entries}
    async with filling.opened(folder / "entries", identity) as store:
        figures |= await filling.fill(store, questions(entries), wide, now)
        figures |= await filling.build(store)
        figures |= filling.sizes(store, folder, entries)
        figures["recall_at_1"] = await filling.recall(store, wide, asked, now)
    kept.write_text(json.dumps(figures))
    return figures


async def ask_service(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Serve a store on one core and ask it from another."""
    filling.pin(options.load_core)
    if options.realtime:
        filling.go_first()
    figures: dict[str, Any] = {}
    count, asked = options.lookups, list(paraphrases(_EMBEDDED))
    exact = list(questions(count))
    async with service.running(folder, options.core) as served:
        await service.one_by_one(served, [*exact[:50], *asked[-50:]])  # warms up
        figures["exact"] = await service.one_by_one(served, exact)
        figures["exact_at_once"] = await service.at_once(served, exact * 4, 64)
        figures["semantic_alone"] = await service.one_by_one(served, asked[:count])
        figures["semantic_at_once"] = await service.at_once(served, asked[:count], 64)
        paces = {
            "exact_half_load": (exact, figures["exact_at_once"]),
            "semantic_half_load": (asked, figures["semantic_at_once"]),
            "semantic_half_alone": (asked, figures["semantic_alone"]),
        }
        for name, (prompts, full) in paces.items():
            rate = full["per_second"] / 2
            sent = (prompts * 1000)[: int(rate * options.seconds)]
            figures[name] = await service.paced(served, sent, rate)
        if options.original:
            source, core = options.source, options.core
            figures["original_encode_p50_ms"] = service.encode_alone(options.original, source, core, exact[:200])
    return figures


async def measure_large(
    folder: Path, identity: ModelIdentity, vectors: Vectors, options: argparse.Namespace
) -> dict[str, Any]:
    """Fill a large store, build its index, and search meanwhile and afterwards."""
    filling.pin(options.core)
    now = time.time()  # noqa: TID251 - as above
    # As it comes about: most have an index, and so many more that upkeep builds the next one.
    count = options.large
    most = int(count / (1 + EdgeSettings().unindexed_share_max))
    figures = await fill_store(folder, identity, vectors, most)
    wide = spread(vectors, count)
    asked = spread(vectors, len(vectors) + 300, seed=11)[-300:]
    rest = questions(count)[most:]
    async with filling.opened(folder / "entries", identity) as store:
        figures["indexed"] = filling.percentiles(await filling.search_times(store, np.tile(asked, (3, 1)), now))
        await filling.use(store, questions(min(most, _USED)), now)
        figures["used"] = filling.percentiles(await filling.search_times(store, asked, now))
        await filling.fill(store, rest, wide[most:], now)
        figures["unindexed"] = filling.percentiles(await filling.search_times(store, asked, now))
        building, times = asyncio.create_task(filling.build(store)), list[float]()
        while not building.done():
            times += await filling.search_times(store, asked[np.newaxis, len(times) % len(asked)], now)
            await asyncio.sleep(0.1)
        figures["rebuild_seconds"] = (await building)["build_seconds"]
        figures["while_building"] = filling.percentiles(times)
        figures["recall_at_1_rebuilt"] = await filling.recall(store, wide, asked, now)
        figures |= filling.sizes(store, folder, count)
    return figures | {"entries": count, "unindexed_entries": len(rest)}


if __name__ == "__main__":
    main()
