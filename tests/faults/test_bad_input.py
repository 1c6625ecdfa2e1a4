"""What nobody should send, sent to a running server: a clear status, and the service is unhurt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import UInt64Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos.interop.rls.v1 import rls_pb2 as pb
from tests.conformance import messages
from tests.conformance.client import failure, fetch
from tests.conformance.launch import Start, launch, running_stores
from tests.conformance.target import Target
from tests.conformance.windows import begin, left_seconds

DOMAIN = "bad-input"
RULES = f"""
domain: {DOMAIN}
descriptors:
  - key: plenty
    rate_limit: {{unit: hour, requests_per_unit: 4000000000}}
  - key: few
    rate_limit: {{unit: year, requests_per_unit: 10}}
"""
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
MEMORY_GROWTH_MAX_KIB = 256 * 1024
# What the reference says in these words and with this status.
KNOWN_COMPLAINTS = {"rate limit domain must not be empty", "rate limit descriptor list must not be empty"}
_START = Start(files={"bad-input.yaml": RULES})


@pytest.fixture(scope="module")
def server() -> Iterator[Target]:
    with launch(_START) as target:
        yield target


@pytest.fixture
def unhurt(server: Target) -> Iterator[Target]:
    """A server that must answer a good call, and say that it is healthy, when the test is over."""
    yield server
    _assert_is_unhurt(server)


def _assert_is_unhurt(server: Target) -> None:
    answer = server.client.ask({"domain": DOMAIN, "descriptors": [{"entries": [["plenty", "good"]]}]})

    assert [status["code"] for status in answer["statuses"]] == ["OK"]
    assert server.client.health("ratelimit") == {"status": "SERVING"}
    assert not server.has_ended()


def _send(server: Target, message: bytes) -> tuple[str, str]:
    """Return the overall code, or the status and its message."""
    try:
        return str(messages.answer(server.client.send(message))["overall_code"]), ""
    except grpc.RpcError as error:
        found = failure(error)["error"]
        return found["code"], found["message"]


def _request(key: str = "plenty", value: str = "v", **fields: int) -> pb.RateLimitRequest:
    entry = pb.RateLimitDescriptor.Entry(key=key, value=value)
    return pb.RateLimitRequest(domain=DOMAIN, descriptors=[pb.RateLimitDescriptor(entries=[entry])], **fields)


def _spending(value: str, hits: int, *, is_refund: bool = False) -> bytes:
    request = _request("few", value)
    request.descriptors[0].hits_addend.value = hits
    request.descriptors[0].is_negative_hits = is_refund
    return request.SerializeToString()


def _of_size(size_bytes: int) -> bytes:
    """Make a good message of exactly that size, with a long value in it."""
    short = size_bytes - 64
    padded = _request(value="v" * short).SerializeToString()
    return _request(value="v" * (short + size_bytes - len(padded))).SerializeToString()


def _resident_kib(server: Target) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


_GOOD = _request().SerializeToString()
_BAD_TEXT = b"\xff\xfe\xc3"


def _with_bad_text(place: str) -> bytes:
    marked = pb.RateLimitRequest(domain="dom" if place == "domain" else DOMAIN)
    key, value = ("dom" if place == part else part for part in ("key", "value"))
    marked.descriptors.add().entries.add(key=key, value=value)
    return marked.SerializeToString().replace(b"dom", _BAD_TEXT, 1)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\xff" * 10, id="no protobuf"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(_GOOD[:-1], id="cut before the last byte"),
        pytest.param(_GOOD[: len(_GOOD) // 2], id="cut in the middle"),
        pytest.param(b"\x12\xff\xff\xff\xff\x07" + _GOOD, id="a length beyond the end"),
        pytest.param(_with_bad_text("domain"), id="a domain that is not UTF-8"),
        pytest.param(_with_bad_text("key"), id="a key that is not UTF-8"),
        pytest.param(_with_bad_text("value"), id="a value that is not UTF-8"),
        pytest.param(b"\x12\x02\x0a\x00" * 10_000 + _GOOD, id="ten thousand descriptors"),
        pytest.param(b"\x12\x80\x01" + b"\x0b" * 128 + _GOOD, id="groups within groups"),
    ],
)
def test_what_is_no_request_is_refused_as_the_callers_fault(unhurt: Target, message: bytes) -> None:
    code, text = _send(unhurt, message)

    assert code == "INVALID_ARGUMENT"
    assert text


@pytest.mark.parametrize("unit", [8, 99, 2**31 - 1, -1])
def test_a_unit_that_does_not_exist_is_refused(unhurt: Target, unit: int) -> None:
    request = _request()
    request.descriptors[0].limit.requests_per_unit = 1
    # Through bytes: the field takes any number on the wire.
    limit = b"\x08\x01\x10" + _varint(unit)
    entry = request.descriptors[0].entries[0].SerializeToString()
    descriptor = b"\x0a" + _varint(len(entry)) + entry + b"\x12" + _varint(len(limit)) + limit
    message = b"\x0a" + _varint(len(DOMAIN)) + DOMAIN.encode() + b"\x12" + _varint(len(descriptor)) + descriptor

    assert _send(unhurt, message)[0] == "INVALID_ARGUMENT"


def _varint(number: int) -> bytes:
    number %= 2**64
    septets = []
    while number > 0x7F:
        septets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*septets, number])


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        pytest.param(b"", "rate limit domain must not be empty", id="no bytes"),
        pytest.param(
            pb.RateLimitRequest(domain=DOMAIN).SerializeToString(),
            "rate limit descriptor list must not be empty",
            id="no descriptors",
        ),
    ],
)
def test_an_empty_request_is_refused_in_the_references_words(unhurt: Target, message: bytes, complaint: str) -> None:
    assert _send(unhurt, message) == ("UNKNOWN", complaint)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(_of_size(MESSAGE_BYTES_MAX), id="exactly the largest message"),
        pytest.param(_request(key="k" * 1_000_000).SerializeToString(), id="a key of a megabyte"),
        pytest.param(_request(value="\0a\0").SerializeToString(), id="NUL bytes"),
        pytest.param(_request(key="", value="").SerializeToString(), id="an empty key"),
        pytest.param(
            pb.RateLimitRequest(domain=DOMAIN, descriptors=[pb.RateLimitDescriptor()]).SerializeToString(),
            id="no entries",
        ),
        pytest.param(
            pb.RateLimitRequest(
                domain=DOMAIN,
                descriptors=[pb.RateLimitDescriptor(entries=[*_request().descriptors[0].entries] * 100_000)],
            ).SerializeToString(),
            id="a hundred thousand entries",
        ),
        pytest.param(
            pb.RateLimitRequest(domain=DOMAIN, descriptors=[_request().descriptors[0]] * 1000).SerializeToString(),
            id="a thousand descriptors",
        ),
        pytest.param(_GOOD + b"\xfa\x3f\x03abc", id="a field that nobody knows"),
        pytest.param(_request(value="\r\n:|@#{}*$0").SerializeToString(), id="what metrics and keys are made of"),
    ],
)
def test_what_is_odd_but_a_request_is_answered(unhurt: Target, message: bytes) -> None:
    assert _send(unhurt, message) == ("OK", "")


def test_a_message_above_the_largest_is_refused_unread(unhurt: Target) -> None:
    assert _send(unhurt, _of_size(MESSAGE_BYTES_MAX + 1))[0] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("hits", [2**64 - 1, 2**64 - 4, 2**63, 2**63 - 1, 2**53])
def test_a_huge_cost_is_a_cost_and_stays_one(unhurt: Target, hits: int) -> None:
    value = f"huge-{hits}"

    assert [_send(unhurt, _spending(value, spent))[0] for spent in (hits, 1, hits, 0)] == ["OVER_LIMIT"] * 4


def test_a_huge_refund_stops_at_nothing_spent(unhurt: Target) -> None:
    codes = [
        _send(unhurt, _spending("refund", 10))[0],
        _send(unhurt, _spending("refund", 2**64 - 1, is_refund=True))[0],
        _send(unhurt, _spending("refund", 10))[0],
        _send(unhurt, _spending("refund", 1))[0],
    ]

    assert codes == ["OK", "OK", "OK", "OVER_LIMIT"]


def test_the_largest_request_wide_cost_is_a_cost(unhurt: Target) -> None:
    message = _request("few", "wide", hits_addend=2**32 - 1).SerializeToString()

    assert _send(unhurt, message) == ("OVER_LIMIT", "")


@pytest.mark.parametrize("spent", [2**63 - 1, 2**63 - 5, 2**62, 2**53 - 1])
def test_a_counter_at_the_end_of_its_range_denies(redis_server: Target, spent: int) -> None:
    now = redis_server.clock.wall()
    assert left_seconds("YEAR", now) > 5
    key = f"{DOMAIN}_few_end-{spent}_{begin('YEAR', now)}"
    redis_server.stores["main"].set(key, spent)

    codes = [_send(redis_server, _spending(f"end-{spent}", hits))[0] for hits in (1, 2**64 - 1, 1, 0)]
    assert codes == ["OVER_LIMIT"] * 4
    assert int(redis_server.stores["main"].get(key) or 0) >= 2**53 - 1
    _assert_is_unhurt(redis_server)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[Target]:
    with running_stores() as stores, launch(Start(files=_START.files, stores=stores)) as target:
        yield target


def test_bad_calls_do_not_hurt_the_calls_that_arrive_with_them(unhurt: Target) -> None:
    mixed = [_GOOD, b"\xff" * 10, _GOOD[:-1], b"", _GOOD] * 40

    with ThreadPoolExecutor(16) as callers:
        codes = list(callers.map(lambda message: _send(unhurt, message)[0], mixed))

    assert codes == ["OK", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "UNKNOWN", "OK"] * 40


def test_memory_does_not_grow_with_what_is_sent(unhurt: Target) -> None:
    large = [_of_size(MESSAGE_BYTES_MAX - number) for number in range(8)]
    for message in large:
        _send(unhurt, message)
    before = _resident_kib(unhurt)

    for number in range(128):
        _send(unhurt, _of_size(MESSAGE_BYTES_MAX - 8 - number))
        _send(unhurt, b"\x12\x02\x0a\x00" * 10_000 + str(number).encode())

    # 128 of them are 512 MiB as they came.
    assert _resident_kib(unhurt) - before < MEMORY_GROWTH_MAX_KIB


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param("\0", 400, id="a NUL"),
        pytest.param(b"\xff\xfe", 400, id="no UTF-8"),
        pytest.param('{"domain":' * 5000, 400, id="deeply nested and cut"),
        pytest.param('{"domain": "d", "descriptors": ' + "[" * 20_000 + "]" * 20_000 + "}", 400, id="deeply nested"),
        pytest.param('{"domain": 5}', 400, id="a number for a text"),
        pytest.param('{"domain": "d", "hitsAddend": 4294967296}', 400, id="a number above 32 bits"),
        pytest.param(
            '{"domain": "d", "descriptors": [{"entries": [{"key": "\\ud800"}]}]}', 400, id="half a surrogate pair"
        ),
        pytest.param('{"domain": "' + "d" * MESSAGE_BYTES_MAX + '"}', 413, id="above the largest body"),
    ],
)
def test_a_bad_body_of_json_is_the_callers_fault(unhurt: Target, body: str | bytes, status: int) -> None:
    assert unhurt.main is not None

    assert fetch(unhurt.main, "/json", method="POST", body=body)["status"] == status


_texts = st.text(max_size=20)
_descriptors = st.builds(
    lambda entries, hits, is_refund: pb.RateLimitDescriptor(
        entries=[pb.RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries],
        hits_addend=None if hits is None else UInt64Value(value=hits),
        is_negative_hits=is_refund,
    ),
    st.lists(st.tuples(st.sampled_from(["plenty", "few", ""]) | _texts, _texts), max_size=4),
    st.none() | st.integers(0, 2**64 - 1),
    st.booleans(),
)
_requests = st.builds(
    lambda domain, descriptors, hits: pb.RateLimitRequest(
        domain=domain, descriptors=descriptors, hits_addend=hits
    ).SerializeToString(),
    st.just(DOMAIN) | _texts,
    st.lists(_descriptors, max_size=4),
    st.integers(0, 2**32 - 1),
)


@st.composite
def _mutations(draw: st.DrawFn) -> bytes:
    """Cut, overwrite, repeat or insert somewhere in a good message."""
    message = draw(_requests)
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(message))] * 2)))
    return message[:start] + draw(st.binary(max_size=16) | st.just(message)) + message[end:]


_ON_THE_WIRE = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@_ON_THE_WIRE
@given(message=st.binary(max_size=200) | _mutations())
def test_whatever_bytes_come_the_answer_is_clear(server: Target, message: bytes) -> None:
    code, text = _send(server, message)

    assert code in {"OK", "OVER_LIMIT", "INVALID_ARGUMENT"} or text in KNOWN_COMPLAINTS


@_ON_THE_WIRE
@given(message=_requests)
def test_every_request_with_domain_and_descriptors_is_answered(server: Target, message: bytes) -> None:
    request = pb.RateLimitRequest.FromString(message)
    code, text = _send(server, message)

    expected = {"OK", "OVER_LIMIT"} if request.domain and request.descriptors else {"UNKNOWN"}
    assert code in expected, text
