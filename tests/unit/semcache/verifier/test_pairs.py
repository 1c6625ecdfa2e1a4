"""The guards on pairs written for them: `fits` 1 must pass, 0 must be refused by the guard of that name."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from semcache.prompt import normalise
from semcache.verifier.guards import Guard, judge

PAIRS = Path(__file__).parents[3] / "data" / "verifier_pairs.tsv"
GUARDS = {guard.value for guard in Guard}


def rows() -> list[dict[str, str]]:
    with PAIRS.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def told(row: dict[str, str]) -> str:
    return f"{row['category']}: {row['prompt']} | {row['candidate']}"


@pytest.mark.parametrize("row", [row for row in rows() if row["fits"] == "1"], ids=told)
def test_no_guard_refuses_what_fits(row: dict[str, str]) -> None:
    assert judge(normalise(row["prompt"]), normalise(row["candidate"])) is None


@pytest.mark.parametrize("row", [row for row in rows() if row["fits"] == "0" and row["category"] in GUARDS], ids=told)
def test_a_guard_refuses_what_it_is_for(row: dict[str, str]) -> None:
    assert judge(normalise(row["prompt"]), normalise(row["candidate"])) is Guard(row["category"])


@pytest.mark.parametrize("row", [row for row in rows() if row["fits"] == "0" and row["category"] in GUARDS], ids=told)
def test_a_refusal_does_not_depend_on_who_asked_first(row: dict[str, str]) -> None:
    assert judge(normalise(row["candidate"]), normalise(row["prompt"])) is Guard(row["category"])


def test_every_guard_has_pairs_of_both_kinds() -> None:
    kinds = {(row["category"], row["fits"]) for row in rows()}
    guards = GUARDS - {Guard.LENGTH.value}

    assert {(guard, fits) for guard in guards for fits in "01"} <= kinds


def test_there_are_two_hundred_pairs_or_more() -> None:
    assert len(rows()) >= 200
