from __future__ import annotations

import pytest
from rich.console import Console

from protos.semcache.v1 import semcache_pb2 as wire
from weir.commands.cache_sheet import sheets

BUSY = wire.NamespaceState(
    namespace="support",
    embedding_model="all-minilm-l6-v2-int8-0123456789abcdef",
    entries=98_765_432,
    exact_hits=1_234_567,
    semantic_hits=2_345_678,
    misses=12_345_678,
    bypasses=1_234_567,
    hit_rate=wire.Share(value=0.231, low=0.2302, high=0.2318, count=15_925_923),
    error_rate=wire.Share(value=0.0123, low=0.0049, high=0.0321, count=12_345),
    target_error=0.05,
    is_gate_open=True,
    labels=800,
    saved=wire.Usage(input_tokens=123_456_789, output_tokens=987_654_321),
    saved_micros=1_234_567_890_000,
    stored=12_345_678,
    refused=123_456,
    shadow=wire.ShadowState(
        threshold=0.97,
        is_gate_open=True,
        hit_rate=wire.Share(value=0.3, low=0.29, high=0.31, count=100),
        error_rate=wire.Share(value=0.5, low=0.1, high=0.9, count=2),
    ),
)


def printed(*states: wire.NamespaceState) -> list[str]:
    console = Console(width=80, highlight=False)
    with console.capture() as capture:
        console.print(sheets(states))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_busy_namespace_fits_80_columns_line_by_line() -> None:
    assert printed(BUSY) == [
        "support",
        " model            all-minilm-l6-v2-int8-0123456789abcdef",
        " entries          98,765,432; 12,345,678 stored, 123,456 refused",
        " lookups          15,925,923, 1,234,567 bypassed",
        " hits             23.1% (23.0%–23.2%): 1,234,567 exact, 2,345,678 semantic",
        " of them wrong    1.2% (0.5%–3.2%) of 12,345 judged",
        " gate             open, error ≤ 0.05; 800 labels",
        " saved            1,111,111,110 tokens, 1,234,567.89 net of lookups",
        " shadow           open, similarity ≥ 0.97",
        "   would hit      30.0% (29.0%–31.0%)",
        "   of them wrong  50.0% (10.0%–90.0%) of 2 judged",
    ]


def test_a_namespace_that_nobody_asked_says_so() -> None:
    lines = printed(wire.NamespaceState(namespace="new", threshold=0.9))

    assert " hits           –: 0 exact, 0 semantic" in lines
    assert " of them wrong  none judged" in lines
    assert " gate           closed, similarity ≥ 0.9; 0 labels" in lines


def test_a_change_of_models_says_how_far_it_is() -> None:
    change = wire.MigrationState(
        phase=wire.MIGRATION_PHASE_ROLLED_BACK, old_model="a", new_model="b", entries=10, read=7, embedded=1_234
    )

    assert printed(wire.NamespaceState(namespace="new", migration=change))[-3:] == [
        " migration      rolled back; 7 of 10 entries read, 1,234 embedded here",
        "   from         a",
        "   to           b",
    ]


@pytest.mark.parametrize(
    ("micros", "told"), [(0, "0.00"), (27, "0.000027"), (-27, "-0.000027"), (99_999, "0.099999"), (100_000, "0.10")]
)
def test_savings_of_less_than_a_cent_are_not_nothing(micros: int, told: str) -> None:
    state = wire.NamespaceState(namespace="support", saved_micros=micros)

    assert any(line.endswith(f"0 tokens, {told} net of lookups") for line in printed(state))
