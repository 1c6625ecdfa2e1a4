from __future__ import annotations

import pytest

from serving.sieve import Sieve
from serving.streams import AllStreams, Streams
from tests.wire import http2

RESERVED = 1 << 31
PADDED, PRIORITY = 8, 32
ANSWER = (
    http2.frame(http2.HEADERS, http2.END_HEADERS, 1, b"head")
    + http2.frame(http2.DATA, 0, 1, b"\0\0\0\0\1x")
    + http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, b"tail")
)
REFUSED = http2.frame(http2.RST_STREAM, 0, 3, b"\0\0\0\7")
# What has the flag of an end and is none.
ACKS = http2.frame(http2.SETTINGS, http2.ACK) + http2.frame(http2.PING, http2.ACK, 0, b"12345678")


class Connection:
    """One of a relay's, without its sockets."""

    def __init__(self, every: AllStreams) -> None:
        self.streams = Streams(every)
        self._sieve = Sieve(100, 100, lambda: None, self.streams)
        self._sieve.sift(http2.hello())

    def says(self, *parts: bytes) -> None:
        self._sieve.sift(b"".join(parts))


@pytest.fixture
def every() -> AllStreams:
    return AllStreams()


@pytest.fixture
def connection(every: AllStreams) -> Connection:
    return Connection(every)


def headers(stream: int, flags: int = http2.END_HEADERS) -> bytes:
    return http2.frame(http2.HEADERS, flags, stream, b"block")


def test_a_stream_is_open_from_its_headers_on(connection: Connection, every: AllStreams) -> None:
    connection.says(headers(1), headers(3), headers(5))

    assert (len(connection.streams), every.open) == (3, 3)


def test_it_is_open_once_however_its_bytes_come(connection: Connection) -> None:
    for byte in http2.call(1, b"x") + http2.call(3, b"y"):
        connection.says(bytes((byte,)))

    assert connection.streams.ids == {1, 3}


def test_trailers_of_a_request_open_nothing(connection: Connection) -> None:
    connection.says(headers(1))
    connection.streams.follow(ANSWER)
    connection.says(headers(1, http2.END_HEADERS | http2.END_STREAM))

    assert connection.streams.ids == set()


def test_a_bit_that_is_reserved_hides_no_stream(connection: Connection) -> None:
    connection.says(headers(1 | RESERVED), headers(3), headers(5 | RESERVED) + headers(7)[:9])

    assert connection.streams.ids == {1, 3, 5, 7}


def test_who_gives_up_a_stream_has_it_no_more(connection: Connection, every: AllStreams) -> None:
    reset = http2.frame(http2.RST_STREAM, 0, 1, b"\0\0\0\10")
    connection.says(headers(1), headers(3), reset, headers(5), headers(7))

    assert (connection.streams.ids, every.open) == ({3, 5, 7}, 3)


@pytest.mark.parametrize("cut", range(len(ANSWER + ACKS + REFUSED)))
def test_what_the_front_ends_is_over_however_it_is_cut(cut: int, connection: Connection, every: AllStreams) -> None:
    said = ANSWER + ACKS + REFUSED
    connection.says(headers(1), headers(3), headers(5))
    connection.streams.follow(said[:cut])
    connection.streams.follow(said[cut:])

    assert (connection.streams.ids, every.open) == ({5}, 1)


def test_an_answer_in_one_frame_ends_its_stream(connection: Connection) -> None:
    connection.says(headers(1), headers(3))
    connection.streams.follow(headers(1, http2.END_HEADERS | http2.END_STREAM))
    connection.streams.follow(http2.frame(http2.DATA, http2.END_STREAM, 3, b"x"))

    assert connection.streams.ids == set()


def test_an_answer_that_goes_on_is_open(connection: Connection) -> None:
    connection.says(headers(1))
    connection.streams.follow(ANSWER[: -len(http2.frame(http2.HEADERS, 0, 1, b"tail"))])

    assert connection.streams.ids == {1}


def test_a_connection_that_is_over_has_none_whatever_comes_late(connection: Connection, every: AllStreams) -> None:
    other = Connection(every)
    other.says(headers(1))
    connection.says(headers(1), headers(3))
    connection.streams.end()
    connection.says(headers(5))
    connection.streams.follow(ANSWER)
    connection.streams.end()

    assert every.open == 1
