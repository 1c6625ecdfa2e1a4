"""The figures of a run as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table


def of(part: str, figures: dict[str, Any]) -> Iterator[Table]:
    """Yield the tables of one part of a run."""
    match part.partition(":")[0]:
        case "pairs":
            yield _pairs(figures)
        case "stream":
            yield _hit_rates(figures)
            yield _errors(figures)
        case "misleading":
            yield _misleading(figures)
        case "gate":
            yield _gate(part.partition(": ")[2], figures[part])


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at else "left")
    return table


def _pairs(figures: dict[str, Any]) -> Table:
    about = figures["about"]
    title = f"{about['labelled_pairs']} labelled pairs, before vetoes ({about['candidate_us']:.0f} µs a candidate)"
    table = _table(title, "score", "ROC AUC", "average precision", "recall at precision .90")
    for name, row in figures["pairs"].items():
        table.add_row(name, *(f"{row[key]:.3f}" for key in ("auc", "average_precision", "recall_at_precision_90")))
    return table


def _hit_rates(figures: dict[str, Any]) -> Table:
    about = figures["about"]
    title = f"Stream of {about['texts']} questions, mean of {about['orders']} orders, at equal hit rates"
    table = _table(
        title, "method", "hit %", "known wrong", "÷ cosine", "90 % interval", "known precision", "strict error %"
    )
    for name, rows in figures["stream"].items():
        for row in rows["at_hit_rate"]:
            low, high = row["known_wrong_ratio_interval"]
            table.add_row(
                name,
                f"{100 * row['hit_rate']:.1f}",
                f"{row['known_wrong']:.1f}",
                f"{row['known_wrong_ratio']:.3f}",
                f"{low:.2f} - {high:.2f}",
                f"{row['known_precision']:.4f}",
                f"{100 * row['strict_error']:.2f}",
            )
    return table


def _errors(figures: dict[str, Any]) -> Table:
    table = _table("The same at equal strict error", "method", "strict error %", "hit %", "÷ cosine", "over the orders")
    for name, rows in figures["stream"].items():
        for row in rows["at_strict_error"]:
            low, high = row["hit_rate_ratio_orders"]
            table.add_row(
                name,
                f"{100 * row['strict_error']:.1f}",
                f"{100 * row['hit_rate']:.2f}",
                f"{row['hit_rate_ratio']:.3f}",
                f"{low:.3f} - {high:.3f}",
            )
    return table


def _misleading(figures: dict[str, Any]) -> Table:
    table = _table(
        "Accepted at the thresholds of 11.7 % hits", "pairs", "count", "must", "cosine %", "trees and guards %"
    )
    for row in figures["misleading"]:
        must = "hit" if row["is_wanted"] else "miss"
        table.add_row(row["group"], str(row["pairs"]), must, f"{100 * row['cosine']:.1f}", f"{100 * row['ours']:.1f}")
    return table


def _gate(name: str, rows: list[dict[str, Any]]) -> Table:
    table = _table(
        f"Rolling gate of {name}, last 75 % of the stream, strict labels on a tenth of the candidates",
        *("target %", "of", "hit %", "error %", "worst order", "precision", "labels"),
    )
    for row in rows:
        table.add_row(
            f"{100 * row['target']:.1f}",
            row["basis"],
            f"{100 * row['hit_rate']:.2f}",
            f"{100 * row['error']:.2f}",
            f"{100 * row['error_worst_seed']:.2f}",
            f"{row['precision']:.3f}",
            f"{row['labels']:.0f}",
        )
    return table
