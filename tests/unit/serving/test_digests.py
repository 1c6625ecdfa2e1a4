from __future__ import annotations

from pydantic import SecretStr

from serving.digests import shower
from serving.settings import LogSettings

HASHED = LogSettings(hash_values=True)


def test_values_are_shown_as_they_are_unless_they_are_to_be_hashed() -> None:
    assert shower(LogSettings())("sk-123") == "sk-123"


def test_a_hash_is_short_and_the_same_every_time() -> None:
    first, second = shower(HASHED)("sk-123"), shower(HASHED)("sk-123")

    assert (first, len(first)) == (second, 12)


def test_values_that_differ_have_hashes_that_differ() -> None:
    assert shower(HASHED)("sk-123") != shower(HASHED)("sk-124")


def test_a_key_changes_every_hash() -> None:
    keyed = [shower(LogSettings(hash_values=True, hash_values_key=SecretStr(key)))("sk-123") for key in ("a", "b" * 99)]

    assert len({shower(HASHED)("sk-123"), *keyed}) == 3


def test_the_stars_of_a_pattern_are_left() -> None:
    show = shower(HASHED)

    assert (show("*"), show("sk-*")) == ("*", f"{show('sk-')}*")
