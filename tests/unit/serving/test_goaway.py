from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.goaway import GOAWAY, ends_between_frames
from tests.wire import http2

WHOLE = [
    http2.frame(http2.SETTINGS),
    http2.frame(http2.HEADERS, http2.END_HEADERS, 1, b"block"),
    http2.frame(http2.DATA, 0, 1, b"x" * 300),
    http2.frame(http2.PING, 0, 0, b"12345678"),
]


def test_goaway_says_no_error_and_that_no_stream_is_too_late() -> None:
    assert list(http2.frames(GOAWAY)) == [http2.Frame(http2.GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0")]


@given(st.lists(st.sampled_from(WHOLE), min_size=1))
def test_whole_frames_end_between_two(pieces: list[bytes]) -> None:
    assert ends_between_frames(b"".join(pieces))


@given(st.lists(st.sampled_from(WHOLE), min_size=1), st.data())
def test_a_cut_frame_does_not(pieces: list[bytes], data: st.DataObject) -> None:
    last = pieces[-1]
    cut = data.draw(st.integers(1, len(last) - 1))

    assert not ends_between_frames(b"".join(pieces[:-1]) + last[:cut])


def test_headers_that_go_on_may_not_be_parted() -> None:
    begun = http2.frame(http2.HEADERS, 0, 1, b"block")

    assert not ends_between_frames(begun)
    assert ends_between_frames(begun + http2.frame(http2.CONTINUATION, http2.END_HEADERS, 1, b"more"))


def test_the_middle_of_a_body_is_no_frame() -> None:
    assert not ends_between_frames(b"the rest of a body, as it may come in a piece of its own")
