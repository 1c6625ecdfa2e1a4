"""What `weir cache stats` shows: a sheet for each namespace, in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table

from protos.semcache.v1 import semcache_pb2 as wire

_MILLION = 1_000_000


def sheets(states: Sequence[wire.NamespaceState]) -> Group:
    """Return one sheet under the other."""
    return Group(*map(_sheet, states))


def share(of: wire.Share) -> str:
    """Return a share with its interval."""
    return f"{of.value:.1%} ({of.low:.1%}–{of.high:.1%})" if of.count else "–"


def _sheet(state: wire.NamespaceState) -> Table:
    drawn = Table(title=state.namespace, title_justify="left", show_header=False, box=None, pad_edge=True)
    drawn.add_column()
    drawn.add_column(overflow="fold")
    for name, value in _rows(state):
        drawn.add_row(name, value)
    return drawn


def _rows(state: wire.NamespaceState) -> Sequence[tuple[str, str]]:
    asked = state.exact_hits + state.semantic_hits + state.misses
    bypassed = f", {state.bypasses:,} bypassed" if state.bypasses else ""
    saved = state.saved.input_tokens + state.saved.output_tokens
    rows = [
        ("model", state.embedding_model),
        ("entries", f"{state.entries:,}; {state.stored:,} stored, {state.refused:,} refused"),
        ("lookups", f"{asked:,}{bypassed}"),
        ("hits", f"{share(state.hit_rate)}: {state.exact_hits:,} exact, {state.semantic_hits:,} semantic"),
        ("of them wrong", _wrong(state.error_rate)),
        ("gate", f"{_gate(state.target_error, state.threshold, state.is_gate_open)}; {state.labels:,} labels"),
        ("saved", f"{saved:,} tokens, {_money(state.saved_micros)} net of lookups"),
    ]
    if state.HasField("shadow"):
        rows += _shadow(state.shadow)
    if state.HasField("migration"):
        rows += migration(state.migration)
    return rows


def _money(micros: int) -> str:
    # A few answers of a cheap model save less than a cent, which is not nothing.
    return f"{micros / _MILLION:,.{2 if abs(micros) >= _MILLION // 10 or not micros else 6}f}"


def migration(state: wire.MigrationState) -> Sequence[tuple[str, str]]:
    """Return how far a change of models is."""
    phase = wire.MigrationPhase.Name(state.phase).removeprefix("MIGRATION_PHASE_").lower().replace("_", " ")
    return [
        ("migration", f"{phase}; {state.read:,} of {state.entries:,} entries read, {state.embedded:,} embedded here"),
        ("  from", state.old_model),
        ("  to", state.new_model),
    ]


def _shadow(shadow: wire.ShadowState) -> Sequence[tuple[str, str]]:
    return [
        ("shadow", _gate(shadow.target_error, shadow.threshold, shadow.is_gate_open)),
        ("  would hit", share(shadow.hit_rate)),
        ("  of them wrong", _wrong(shadow.error_rate)),
    ]


def _wrong(of: wire.Share) -> str:
    return f"{share(of)} of {of.count:,} judged" if of.count else "none judged"


def _gate(target_error: float, threshold: float, is_open: bool) -> str:  # noqa: FBT001 - a field of the message
    asked = f"similarity ≥ {threshold:g}" if threshold else f"error ≤ {target_error:g}"
    return f"{'open' if is_open else 'closed'}, {asked}"
