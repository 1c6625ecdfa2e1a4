from __future__ import annotations

import httpx
import pytest
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from semcache.errors import StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from semcache.settings import QdrantSettings
from semcache.stores.qdrant.connection import Connection, blame


def answered(status: int, content: bytes) -> UnexpectedResponse:
    return UnexpectedResponse(status, "Bad Request", content, httpx.Headers())


# Over HTTP; what a server says over gRPC is asked of one in tests/faults.
FAILURES: dict[str, tuple[ApiException, type[StoreError], str]] = {
    "it says why": (answered(400, b'{"status": {"error": "Wrong input"}}'), StoreRefused, "400: Wrong input"),
    "it says something else": (answered(400, b"<html>"), StoreRefused, "400: Bad Request"),
    "a proxy finds nobody": (answered(503, b""), StoreUnavailable, "Qdrant is away"),
    "a proxy waits too long": (answered(504, b""), StoreTimeout, "Qdrant did not answer in time"),
    "nobody answers": (
        ResponseHandlingException(httpx.ConnectError("no route")),
        StoreUnavailable,
        "Qdrant is away",
    ),
    "it takes too long": (
        ResponseHandlingException(httpx.ReadTimeout("late")),
        StoreTimeout,
        "Qdrant did not answer in time",
    ),
}


@pytest.mark.parametrize(("failure", "expected", "words"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_over_http_is_told_in_our_words(
    failure: ApiException, expected: type[StoreError], words: str
) -> None:
    blamed = blame(failure)

    assert (type(blamed), str(blamed)) == (expected, words)


async def test_what_is_not_open_answers_nothing_and_can_be_stopped() -> None:
    connection = Connection(QdrantSettings())

    with pytest.raises(StoreUnavailable, match="not open"):
        _ = connection.client
    await connection.stop()
