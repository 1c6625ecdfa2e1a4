"""The figures as tables, each with what was aimed at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

Figures = Mapping[str, Any]


def all_of(figures: Figures) -> Iterator[Table]:
    """Return a table for each part that was measured."""
    if "embed" in figures:
        yield embedding(figures["embed"])
    if "steps" in figures:
        yield steps(figures["steps"])
    if "service" in figures:
        yield service(figures["service"])
    if "large" in figures:
        yield large(figures["large"])


def embedding(figures: Figures) -> Table:
    """Show encoders by length of text."""
    names = list(figures["p50_ms"])
    table = Table(
        "text",
        *(f"{name}, ms" for name in names),
        "fp32 ÷ int8 (≥ 2)",
        "cosine (≥ .99)",
        title="p50 of one text, one core",
    )
    for length in figures["cosine"]:
        times = [figures["p50_ms"][name][length] for name in names]
        ratio = figures["p50_ms"]["fp32"][length] / figures["p50_ms"]["int8"][length]
        what = length if length == "question" else f"{length} tokens"
        table.add_row(what, *(f"{each:.2f}" for each in times), f"{ratio:.2f}", f"{figures['cosine'][length]:.4f}")
    return table


def steps(figures: Figures) -> Table:
    """Show what an inference leaves of the caches."""
    table = Table("step", "repeated, µs", "after an inference, µs", title="p50 of a step of a lookup, one core")
    for name, row in figures.items():
        table.add_row(name, f"{row['repeated_us']:.0f}", f"{row['after_us']:.0f}")
    return table


def service(figures: Figures) -> Table:
    """Show the service."""
    table = Table(
        "what", "measured", "aim", title=f"{figures['entries']:,} entries, service and engine on one core, over gRPC"
    )
    exact, alone, half = figures["exact"], figures["semantic_alone"], figures["semantic_half_load"]
    table.add_row("exact hit, p50 / p99", f"{exact['p50_ms']:.2f} / {exact['p99_ms']:.2f} ms", "p50 ≤ 1 ms")
    if original := figures.get("original_encode_p50_ms"):
        table.add_row("sentence-transformers encode ÷ exact hit", f"{original / exact['p50_ms']:.1f} ×", "≥ 8 ×")
    table.add_row("exact hits a second, 64 callers", f"{figures['exact_at_once']['per_second']:,.0f}", "")
    table.add_row(
        "semantic lookup of 20 tokens alone, p50 / p99",
        f"{alone['p50_ms']:.2f} / {alone['p99_ms']:.2f} ms",
        "p50 ≤ 6 ms",
    )
    table.add_row(
        f"the same at half of full load ({half['asked_per_second']:.0f}/s)",
        f"{half['p50_ms']:.2f} / {half['p99_ms']:.2f} ms",
        "≤ 6 / ≤ 15 ms",
    )
    if slow := figures.get("semantic_half_alone"):
        table.add_row(
            f"the same at half of what one caller gets ({slow['asked_per_second']:.0f}/s)",
            f"{slow['p50_ms']:.2f} / {slow['p99_ms']:.2f} ms",
            "",
        )
    costs = " / ".join(
        f"{figures[name]['processor_ms']:.2f}"
        for name in ("exact", "exact_at_once", "semantic_alone", "semantic_at_once")
    )
    table.add_row("processor time a lookup: exact alone / 64 callers / semantic alone / 64", f"{costs} ms", "")
    ratio = figures["semantic_at_once"]["per_second"] / alone["per_second"]
    table.add_row("semantic lookups a second, 64 callers", f"{figures['semantic_at_once']['per_second']:.0f}", "")
    table.add_row("64 callers ÷ one at a time", f"{ratio:.2f} ×", "≥ 2.5 ×")
    table.add_row("how they ended", str(alone["ends"]), "")
    _store(table, figures)
    return table


def large(figures: Figures) -> Table:
    """Show the large store."""
    table = Table("what", "measured", "aim", title=f"{figures['entries']:,} entries, the store alone, one core for all")
    for name, what in (
        ("indexed", "search with the index"),
        ("used", "after 6,000 of its entries were used"),
        ("unindexed", f"with {figures['unindexed_entries']:,} more that are not indexed"),
        ("while_building", "while the next index is built"),
    ):
        row = figures[name]
        table.add_row(
            f"{what}, p50 / p99 / max", f"{row['p50_ms']:.2f} / {row['p99_ms']:.2f} / {row['max_ms']:.0f} ms", ""
        )
    _store(table, figures)
    return table


def _store(table: Table, figures: Figures) -> None:
    table.add_row("recall@1 against brute force", f"{figures['recall_at_1']:.3f}", "≥ .99")
    table.add_row("adding", f"{figures['entries'] / figures['add_seconds']:,.0f} a second", "")
    table.add_row("building the index", f"{figures['build_seconds']:.0f} s", "")
    resident, disk = figures["resident_bytes_per_entry"], figures["disk_bytes_per_entry"]
    table.add_row("memory / disk per entry", f"{resident:,.0f} / {disk:,.0f} bytes", "")
