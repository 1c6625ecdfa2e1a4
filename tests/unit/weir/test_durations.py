from __future__ import annotations

import pytest

from weir.durations import spoken


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (1, "1 s"),
        (60, "1 min"),
        (320, "5 min 20 s"),
        (3_600 + 59, "1 h"),
        (125_820, "1 d 10 h"),
        (2_029_400, "23 d 11 h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: int, said: str) -> None:
    assert spoken(seconds) == said
