from __future__ import annotations

from serving.spans import trace_headers


def test_of_a_calls_headers_only_those_of_its_trace_are_kept() -> None:
    metadata = [("authorization", "secret"), ("traceparent", "00-1-2-01"), ("b3", "1-2-1"), ("x-b3-flags", b"binary")]

    assert trace_headers(metadata) == (("traceparent", "00-1-2-01"), ("b3", "1-2-1"))
