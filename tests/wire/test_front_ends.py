"""The front's receiver, when the loop it hands calls to has ended."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import grpc
from pygrpc_native import NativeGrpcFront

from serving.front import _receive
from tests.wire.transports import PATH


def test_a_receiver_whose_loop_has_ended_ends_too(tmp_path: Path) -> None:
    arrived: list[Any] = []
    ended = asyncio.new_event_loop()
    ended.close()
    front = NativeGrpcFront(f"unix:{tmp_path / 'front'}", [(PATH, False)], io_threads=1, call_details=True)
    front.start()
    receiver = threading.Thread(target=_receive, args=(front, ended, arrived.append))
    receiver.start()
    with grpc.insecure_channel(f"unix:{tmp_path / 'front'}") as channel:
        call = channel.unary_unary(PATH).future(b"x", timeout=10)
        receiver.join(10)
        call.cancel()
    is_over = not receiver.is_alive()
    front.close()
    receiver.join(10)

    assert (is_over, arrived) == (True, [])
