from __future__ import annotations

import io
import pickle

import pytest

from semcache.stores.edge.frames import FRAME_BYTES_MAX, read_frame, write_frame

VALUES = [(1, "get", (["a"],)), (2, True, None)]


def written(*values: object) -> bytes:
    stream = io.BytesIO()
    for value in values:
        write_frame(stream, value)
    return stream.getvalue()


def test_frames_are_read_as_they_were_written() -> None:
    stream = io.BytesIO(written(*VALUES))

    assert [pickle.loads(read_frame(stream)) for _ in VALUES] == VALUES
    assert read_frame(stream) == b""


@pytest.mark.parametrize("cut", range(len(written(VALUES[0]))))
def test_a_frame_that_is_cut_anywhere_is_the_end(cut: int) -> None:
    assert read_frame(io.BytesIO(written(VALUES[0])[:cut])) == b""


def test_a_length_that_nobody_sends_is_a_stream_out_of_step() -> None:
    with pytest.raises(ValueError, match="out of step"):
        read_frame(io.BytesIO((FRAME_BYTES_MAX + 1).to_bytes(4, "little")))
