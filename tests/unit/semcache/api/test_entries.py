from __future__ import annotations

import math

import numpy as np
import pytest

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.api.entries import read_entry
from serving.refusal import Refused

GOOD = {"id": "0" * 8 + "-0000-5000-8000-" + "0" * 12, "scope_id": "0" * 32, "prompt": "a"}


@pytest.mark.parametrize(
    ("embedding", "why"),
    [
        (b"12345", "its embedding is not made of 32-bit floats"),
        (np.array([1.0, math.nan], "<f4").tobytes(), "its embedding has what is no number"),
        (np.array([1.0, -math.inf], "<f4").tobytes(), "its embedding has what is no number"),
    ],
    ids=["bytes", "nan", "infinite"],
)
def test_an_embedding_that_is_none_is_refused_with_the_number_of_its_entry(embedding: bytes, why: str) -> None:
    message = wire.ExportedEntry(**GOOD, embedding=embedding).SerializeToString()

    with pytest.raises(Refused) as refused:
        read_entry(message, 7)

    assert refused.value.failure.detail == f"entry 7: {why}"
