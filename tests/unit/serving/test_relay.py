from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from serving.metrics import Registry
from serving.relay import Relay, _Client, _Link
from serving.settings import GrpcSettings


def _pass_on(side: _Client) -> None:
    side.data_received(b"late")


def _pass_the_end_on(side: _Client) -> None:
    assert not side.eof_received()


@pytest.mark.parametrize("tell", [_pass_on, _pass_the_end_on])
def test_what_comes_after_the_other_end_has_closed_is_let_go(tell: Callable[[_Client], None]) -> None:
    async def play() -> None:
        mine, theirs = socket.socketpair()
        mine.setblocking(False)
        link = _Link(relay := Relay(GrpcSettings(), None, "", Registry()))
        side = _Client(link, relay.sieve(link.streams))
        other, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=mine)
        side.join(other)
        other.abort()
        # Not before the loop has turned is the handle closed, of which uvloop says RuntimeError.
        await asyncio.sleep(0)
        with theirs:
            tell(side)

    uvloop.run(play())
