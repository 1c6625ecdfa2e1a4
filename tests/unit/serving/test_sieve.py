from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.sieve import Sieve, SieveError, UnpackError, compressed_bytes_max, unpacked
from serving.streams import AllStreams, Streams
from tests.wire import http2

BYTES_MAX = 10_320
COMPRESSED_MAX = BYTES_MAX // 1032
STREAMS_MAX = 4
PADDED = 8
# Flags and where a frame may be cut: all that decides what becomes of a message.
COMPRESSED = http2.message(b"x" * (COMPRESSED_MAX + 1), is_compressed=True)
LONG = http2.message(b"x" * (2 * BYTES_MAX + 1))
GOOD = [
    http2.message(b""),
    http2.message(b"x" * 100),
    http2.message(b"x" * 2 * BYTES_MAX),
    http2.message(b"x" * COMPRESSED_MAX, is_compressed=True),
]
BAD = [COMPRESSED, LONG]
PACKED = gzip.compress(bytes(range(256)))


def sieve() -> Sieve:
    return Sieve(BYTES_MAX, STREAMS_MAX, lambda: None, Streams(AllStreams()))


def marked(message: bytes) -> bytes:
    """Return a message as it is passed on: without meaning where it is too long, as plain where it is packed."""
    return (b"\0" if message[0] else b"\x02") + message[1:]


def data(stream: int, payload: bytes, flags: int = 0, padding: bytes | None = None) -> bytes:
    if padding is None:
        return http2.frame(http2.DATA, flags, stream, payload)
    return http2.frame(http2.DATA, flags | PADDED, stream, bytes((len(padding),)) + payload + padding)


def headers(stream: int, flags: int = http2.END_HEADERS) -> bytes:
    return http2.frame(http2.HEADERS, flags, stream, http2.header_block())


def sift(pieces: Iterable[bytes]) -> bytes:
    one = sieve()
    return b"".join(bytes(one.sift(piece)) for piece in pieces)


def sifted(*parts: bytes) -> bytes:
    """Return what becomes of these frames, after the greeting."""
    return sift([http2.hello() + b"".join(parts)])[len(http2.hello()) :]


@pytest.mark.parametrize("good", GOOD, ids=["empty", "short", "long", "compressed"])
def test_a_message_that_cannot_grow_passes(good: bytes) -> None:
    whole = headers(1) + data(1, good, http2.END_STREAM)

    assert sifted(whole) == whole


@pytest.mark.parametrize("bad", BAD, ids=["compressed", "long"])
def test_the_flag_of_one_that_can_is_marked(bad: bytes) -> None:
    assert sifted(headers(1), data(1, bad, http2.END_STREAM)) == headers(1) + data(1, marked(bad), http2.END_STREAM)


def test_what_is_refused_is_counted() -> None:
    refused: list[None] = []
    one = Sieve(BYTES_MAX, STREAMS_MAX, lambda: refused.append(None), Streams(AllStreams()))
    one.sift(http2.hello() + data(1, LONG) + data(3, GOOD[0]) + data(5, COMPRESSED) + data(7, LONG))

    assert len(refused) == 2


def test_what_unpacks_to_more_than_is_taken_is_longer_than_a_compressed_message_may_be() -> None:
    assert len(gzip.compress(bytes(4 * 1024 * 1024 + 1))) > compressed_bytes_max(4 * 1024 * 1024)


def test_the_second_message_of_a_frame_is_looked_at_as_the_first() -> None:
    assert sifted(data(1, GOOD[1] + COMPRESSED + GOOD[1])) == data(1, GOOD[1] + marked(COMPRESSED) + GOOD[1])


def test_a_message_may_go_on_in_frames_between_those_of_others() -> None:
    parts = [data(1, GOOD[1][:50]), data(3, GOOD[1]), data(1, GOOD[1][50:] + COMPRESSED)]

    assert sifted(*parts) == parts[0] + parts[1] + data(1, GOOD[1][50:] + marked(COMPRESSED))


def test_no_bit_that_others_ignore_makes_a_stream_another() -> None:
    """RFC 9113, 4.1: the reserved bit is ignored."""
    begun, rest = data(1, http2.message(bytes(10))[:9]), data(1 | 1 << 31, b"\0" * 6 + COMPRESSED, http2.END_STREAM)

    assert sifted(begun, rest) == begun + rest.replace(COMPRESSED, marked(COMPRESSED))


@pytest.mark.parametrize("padding", [b"", b"\1" * 5, bytes(255)])
def test_padding_is_no_message(padding: bytes) -> None:
    parts = [data(1, GOOD[1], padding=padding), data(1, COMPRESSED, padding=padding)]

    assert sifted(*parts) == parts[0] + data(1, marked(COMPRESSED), padding=padding)


def test_a_frame_shorter_than_its_padding_ends_the_connection() -> None:
    with pytest.raises(SieveError, match="shorter than its padding"):
        sifted(http2.frame(http2.DATA, PADDED, 1, b"\x09abc"))


def test_a_padded_frame_of_nothing_is_left_to_the_front() -> None:
    whole = http2.frame(http2.DATA, PADDED, 1) + http2.frame(http2.PING, payload=b"12345678")

    assert sifted(whole) == whole


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_compressed_message_whose_head_is_cut_over_frames_is_refused(cut: int) -> None:
    good = GOOD[3]

    assert sifted(data(1, good[:cut]), data(1, good[cut:])) == data(1, b"\2" + good[1:cut]) + data(1, good[cut:])


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_plain_message_may_be_cut_anywhere(cut: int) -> None:
    parts = [data(1, GOOD[1][:cut]), data(1, GOOD[1][cut:] + COMPRESSED)]

    assert sifted(*parts) == parts[0] + data(1, GOOD[1][cut:] + marked(COMPRESSED))


def test_a_head_may_be_cut_over_many_frames() -> None:
    parts = [data(1, GOOD[1][at : at + 1]) for at in range(len(GOOD[1]))]

    assert sifted(*parts) == b"".join(parts)


def test_one_that_is_cut_there_and_far_too_long_ends_the_connection() -> None:
    with pytest.raises(SieveError, match="far too long"):
        sifted(data(1, LONG[:3]), data(1, LONG[3:]))


def test_what_is_no_message_is_refused_alone() -> None:
    """h2spec, 3.1: a server accepts multiple DATA frames."""
    parts = [data(1, b"test"), data(1, b"test", http2.END_STREAM), data(3, GOOD[1])]

    assert sifted(*parts) == data(1, b"\2est") + parts[1] + parts[2]


@pytest.mark.parametrize(
    "end",
    [http2.frame(http2.RST_STREAM, 0, 1, bytes(4)), headers(1, http2.END_HEADERS | http2.END_STREAM)],
    ids=["reset", "trailers"],
)
def test_a_stream_that_ends_in_the_middle_of_a_message_is_forgotten(end: bytes) -> None:
    one = sieve()
    one.sift(http2.hello())
    for _ in range(10 * STREAMS_MAX):
        one.sift(data(1, GOOD[1][:9]) + end)

    assert one.sift(data(1, COMPRESSED)) == data(1, marked(COMPRESSED))


def test_more_streams_in_the_middle_of_a_message_than_may_be_open_end_the_connection() -> None:
    with pytest.raises(SieveError, match="too many streams"):
        sifted(*(data(stream, GOOD[1][:9]) for stream in range(1, 8 * STREAMS_MAX, 2)))


def naive(frames: list[tuple[int, bytes, int, bytes | None]]) -> list[bytes]:
    """Return the payloads as they are to be, by putting the messages of a stream together first."""
    wanted: dict[int, bytearray] = {}
    for stream, payload, _, _ in frames:
        wanted.setdefault(stream, bytearray()).extend(payload)
    for messages in wanted.values():
        at = 0
        while at + 5 <= len(messages):
            flag, length = struct.unpack_from(">BI", messages, at)
            if flag and length > COMPRESSED_MAX:
                messages[at] = 0
            at += 5 + length
    return [bytes(_take(wanted[stream], len(payload))) for stream, payload, _, _ in frames]


def _take(messages: bytearray, size: int) -> bytearray:
    taken = messages[:size]
    del messages[:size]
    return taken


def drawn_frames(source: random.Random) -> list[tuple[int, bytes, int, bytes | None]]:
    """Return frames of three streams in any order, whose messages may be cut anywhere but in their heads."""
    by_stream: list[list[tuple[int, bytes, int, bytes | None]]] = []
    for stream in (1, 3, 5):
        frames: list[tuple[int, bytes, int, bytes | None]] = []
        for _ in range(source.randrange(1, 5)):
            message = source.choice([*GOOD[:2], GOOD[3], COMPRESSED])
            cut = source.randrange(5, len(message) + 1)
            pads = [None, b"", b"\1" * 3]
            frames += [(stream, piece, 0, source.choice(pads)) for piece in (message[:cut], message[cut:])]
        by_stream.append(frames)
    order = [place for place, frames in enumerate(by_stream) for _ in frames]
    source.shuffle(order)
    return [by_stream[place].pop(0) for place in order]


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 50, 1000]))
def test_it_makes_no_difference_how_frames_are_made_and_reads_are_cut(seed: int, read_bytes: int) -> None:
    source = random.Random(seed)
    frames = drawn_frames(source)
    between = [source.choice([b"", headers(7), http2.frame(http2.WINDOW_UPDATE, payload=bytes(4))]) for _ in frames]

    def wire(payloads: Iterable[bytes]) -> bytes:
        return http2.hello() + b"".join(
            extra + data(stream, payload, flags, padding)
            for extra, (stream, _, flags, padding), payload in zip(between, frames, payloads, strict=True)
        )

    whole = wire(payload for _, payload, _, _ in frames)
    pieces: list[bytes] = []
    while whole:
        size = source.randrange(1, read_bytes + 1)
        pieces.append(whole[:size])
        whole = whole[size:]

    assert sift(pieces) == wire(naive(frames))


def test_a_message_that_was_passed_on_packed_is_unpacked() -> None:
    assert unpacked(gzip.compress(b"x" * BYTES_MAX), BYTES_MAX) == b"x" * BYTES_MAX


def test_one_that_is_not_packed_stays() -> None:
    assert unpacked(b"\x0a\x01x", BYTES_MAX) == b"\x0a\x01x"


def test_unpacking_stops_above_the_size() -> None:
    assert len(unpacked(gzip.compress(bytes(10**7)), BYTES_MAX)) == BYTES_MAX + 1


@pytest.mark.parametrize("damaged", [PACKED[:-9], PACKED[:-1], PACKED[:10] + b"\xff" * 20], ids=["cut", "end", "noise"])
def test_what_is_damaged_cannot_be_unpacked(damaged: bytes) -> None:
    with pytest.raises(UnpackError, match="cannot be unpacked"):
        unpacked(damaged, BYTES_MAX)
