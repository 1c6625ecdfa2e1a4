"""The curve as a page of its own: HTML with the drawing inside, and nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from semcache.logistic import probabilities
from weir.calibration.study import Row, Study, wilson

_WIDTH, _HEIGHT, _MARGIN = 760, 420, 50
_BINS = 12
_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:50rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}"
    "svg text{font:12px system-ui,sans-serif;fill:#555}"
)


def page(study: Study, title: str, chosen: Row) -> str:
    """Return the page."""
    drawing = "\n".join(_drawing(study, chosen))
    return (
        f"<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n<p>{study.pairs} pairs, {study.right} of them right. The line is the fitted "
        "confidence by score, the points are what the labels say (90 % intervals), and to the right of the dashed line "
        f"is what a target error of {chosen.target:.1%} serves.</p>\n"
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='confidence by score'>\n{drawing}\n</svg>\n"
        f"{_table(study.rows)}\n</html>\n"
    )


def _drawing(study: Study, chosen: Row) -> Iterator[str]:
    low, high = float(study.scores.min()), float(study.scores.max())
    span = high - low or 1.0

    def x(score: float) -> float:
        return round(_MARGIN + (score - low) / span * (_WIDTH - 2 * _MARGIN), 1)

    def y(share: float) -> float:
        return round(_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN), 1)

    for tick in (0.0, 0.25, 0.5, 0.75, 0.9, 1.0):
        yield f"<line x1='{_MARGIN}' x2='{_WIDTH - _MARGIN}' y1='{y(tick)}' y2='{y(tick)}' stroke='#eee'/>"
        yield f"<text x='{_MARGIN - 8}' y='{y(tick) + 4}' text-anchor='end'>{tick:.0%}</text>"
    for score in np.linspace(low, high, 6):
        yield f"<text x='{x(score)}' y='{_HEIGHT - _MARGIN + 20}' text-anchor='middle'>{score:.1f}</text>"
    grid = np.linspace(low, high, 100)
    line = " ".join(
        f"{x(score)},{y(share)}" for score, share in zip(grid, probabilities(study.curve, grid), strict=True)
    )
    yield f"<polyline points='{line}' fill='none' stroke='#06c' stroke-width='2'/>"
    for score, right, of in _bins(study):
        floor, ceiling = wilson(right, of)
        yield f"<line x1='{x(score)}' x2='{x(score)}' y1='{y(floor)}' y2='{y(ceiling)}' stroke='#999'/>"
        yield f"<circle cx='{x(score)}' cy='{y(right / of)}' r='4' fill='#c60'><title>{right} of {of}</title></circle>"
    if chosen.served:
        at = x(chosen.threshold.score)
        yield f"<line x1='{at}' x2='{at}' y1='{y(0)}' y2='{y(1)}' stroke='#080' stroke-dasharray='5 4'/>"


def _bins(study: Study) -> Iterator[tuple[float, int, int]]:
    """Yield (mean score, right, all) of equal shares of the pairs."""
    order = np.argsort(study.scores)
    for part in np.array_split(order, min(_BINS, len(order))):
        yield float(study.scores[part].mean()), int(study.rights[part].sum()), len(part)


def _table(rows: Sequence[Row]) -> str:
    head = "<tr><th>target error<th>least confidence<th>served<th>wrong of them<th>90 % interval</tr>"
    lines = (
        f"<tr><td>{row.target:.1%}<td>{row.confidence:.3f}<td>{row.threshold.hit_rate:.1%}<td>{row.wrong} of "
        f"{row.served}<td>{row.wrong_interval[0]:.1%} - {row.wrong_interval[1]:.1%}</tr>"
        if row.served
        else f"<tr><td>{row.target:.1%}<td>-<td>nothing<td>-<td>-</tr>"
        for row in rows
    )
    return f"<table>\n{head}\n" + "\n".join(lines) + "\n</table>"
