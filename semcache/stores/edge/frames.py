"""Requests and answers on the pipes between the service and an engine: a length, and as many bytes of pickle."""

from __future__ import annotations

import pickle
import struct
from typing import BinaryIO

HEADER = struct.Struct("<I")
# Larger than any page or batch that the service sends; a length above it is a stream out of step.
FRAME_BYTES_MAX = 256 * 1024 * 1024


def read_frame(reader: BinaryIO) -> bytes:
    """Return the next frame; nothing at the end, also where that comes in the middle of one."""
    header = reader.read(HEADER.size)
    if len(header) < HEADER.size:
        return b""
    (size,) = HEADER.unpack(header)
    if size > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {size} bytes: the stream is out of step")
    frame = reader.read(size)
    return frame if len(frame) == size else b""


def write_frame(writer: BinaryIO, value: object) -> None:
    """Write one frame at once."""
    body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(HEADER.pack(len(body)) + body)
    writer.flush()
