from __future__ import annotations

from semcache.verifier.guards import _places
from semcache.verifier.reading import read


def directions(text: str) -> list[tuple[str, str, str]]:
    return list(_places(read(text), is_any=True))


def test_what_is_done_by_somebody_points_from_who_does_it() -> None:
    (active,) = directions("the dog chased the cat")

    assert directions("the cat was chased by the dog") == [active]


def test_what_is_done_and_nobody_is_said_to_do_it_points_nowhere() -> None:
    assert directions("the cat was chased home") == []
