from __future__ import annotations

from collections.abc import Sequence

import pytest

from ratelimit.errors import StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from ratelimit.stores.shares import worst

AWAY, LATE, NO = StoreUnavailable("away"), StoreTimeout("late"), StoreRefused("no")


@pytest.mark.parametrize(
    ("errors", "is_partial", "kind"),
    [
        ([AWAY, AWAY], False, StoreUnavailable),
        ([AWAY], True, StoreTimeout),
        ([AWAY, LATE], False, StoreTimeout),
        ([LATE, NO], True, StoreRefused),
    ],
    ids=["nothing happened", "a part happened", "a part may have", "a part was refused"],
)
def test_a_whole_did_not_happen_only_if_no_part_of_it_did(
    errors: Sequence[StoreError],
    is_partial: bool,  # noqa: FBT001
    kind: type[StoreError],
) -> None:
    assert type(worst(errors, is_partial=is_partial)) is kind
