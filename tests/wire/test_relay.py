"""What stands before the front: handshakes, bounds, ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.calls import Call, Failure, Reply, StatusCode
from serving.goaway import GOAWAY
from serving.metrics import Registry
from serving.relay import Relay
from serving.settings import GrpcSettings
from serving.tls import channel_credentials
from tests.fakes.certificates import Ca, issue, make_ca
from tests.wire import http2
from tests.wire.gate import Gate, until
from tests.wire.transports import HEALTH_SERVICE, PATH, Connect, Serve, Served

MIB = 1024 * 1024


@pytest.fixture
def transport_name() -> str:
    return "front"


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return make_ca(tmp_path)


@pytest.fixture
def serve_tls(serve: Serve, ca: Ca) -> Callable[..., Awaitable[Served]]:
    pair = issue(ca, ["127.0.0.1"], "server")

    async def start(**options: Any) -> Served:
        files = {"grpc_server_tls_cert": str(pair.certificate), "grpc_server_tls_key": str(pair.key)}
        return await serve(grpc_server_use_tls=True, **files, **options)

    return start


@pytest.fixture
def client_context(ca: Ca) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca.path))
    context.set_alpn_protocols(["h2"])
    return context


async def _open(
    served: Served, context: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", served.server.port, ssl=context)


async def test_calls_over_tls_are_as_without(serve_tls: Serve, connect: Connect, gate: Gate, ca: Ca) -> None:
    def answer(call: Call) -> Reply:
        return Failure(StatusCode.NOT_FOUND, "überall") if call.message == b"bad" else call.message

    gate.answer = answer
    channel = connect(await serve_tls(), channel_credentials(str(ca.path)))
    method = channel.unary_unary(PATH)
    large = b"x" * (4 * MIB)
    bad = method(b"bad")

    assert await method(large) == large
    assert (await bad.code(), await bad.details()) == (grpc.StatusCode.NOT_FOUND, "überall")
    assert (
        await channel.unary_unary("/grpc.health.v1.Health/Check")(
            b"\x0a" + bytes((len(HEALTH_SERVICE),)) + HEALTH_SERVICE.encode()
        )
        == b"\x08\x01"
    )
    assert await channel.unary_unary("/other.Service/Method")(b"").code() == grpc.StatusCode.UNIMPLEMENTED


async def test_http2_is_agreed_on(serve_tls: Serve, client_context: ssl.SSLContext) -> None:
    _, writer = await _open(await serve_tls(), client_context)
    tls = writer.get_extra_info("ssl_object")
    writer.close()

    assert (tls.selected_alpn_protocol(), tls.version()) == ("h2", "TLSv1.3")


async def test_what_comes_with_the_end_of_the_handshake_is_not_lost(
    serve_tls: Serve, client_context: ssl.SSLContext
) -> None:
    reader, writer = await _open(await serve_tls(), client_context)
    writer.write(http2.hello() + b"".join(http2.call(stream) for stream in range(1, 200, 2)))
    data = await http2.until_answered(reader, 100)
    writer.close()

    assert sorted(http2.answered(data)) == list(range(1, 200, 2))


async def test_nothing_that_the_front_says_first_is_lost(serve: Serve) -> None:
    served = await serve()
    firsts = set()
    for _ in range(100):
        reader, writer = await _open(served)
        writer.write(http2.hello())
        data = await http2.until_seen(reader, http2.WINDOW_UPDATE)
        firsts.add((data[3], data[4]))
        writer.close()

    assert firsts == {(http2.SETTINGS, 0)}


async def test_old_tls_is_refused(serve_tls: Serve, client_context: ssl.SSLContext) -> None:
    served = await serve_tls()
    with pytest.deprecated_call():
        client_context.maximum_version = ssl.TLSVersion.TLSv1_1
    client_context.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises(OSError):  # noqa: PT011 - a reset or an alert, as the kernel has it
        await _open(served, client_context)
    await until(lambda: served.value("weir.relay.failed") == 1)


async def test_a_client_that_never_shakes_hands_is_sent_away(serve_tls: Serve) -> None:
    served = await serve_tls(grpc_tls_handshake_timeout=0.05)
    reader, writer = await _open(served)
    await http2.until_end(reader)
    writer.close()

    assert (served.value("weir.relay.failed"), served.value("weir.relay.connections")) == (1, 0)


@pytest.mark.parametrize("said", [b"", http2.PREFACE[:10]], ids=["nothing", "half a preface"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_a_client_that_never_speaks_http2_is_sent_away(
    said: bytes, serve: Serve, serve_tls: Serve, client_context: ssl.SSLContext, *, is_tls: bool
) -> None:
    served = await (serve_tls if is_tls else serve)(grpc_tls_handshake_timeout=2.0)
    talking, talker = await _open(served, client_context if is_tls else None)
    talker.write(http2.hello())
    reader, writer = await _open(served, client_context if is_tls else None)
    writer.write(said)
    await http2.until_end(reader)
    writer.close()
    talker.write(http2.call(1))

    assert http2.answered(await http2.until_answered(talking, 1)) == [1]
    assert (served.value("weir.relay.failed"), served.value("weir.relay.connections")) == (1, 1)
    talker.close()


async def test_a_client_that_vanishes_in_its_handshake_leaves_nothing(serve_tls: Serve) -> None:
    served = await serve_tls()
    _, writer = await _open(served)
    writer.write(b"\x16\x03\x01")
    await until(lambda: served.value("weir.relay.connections"))
    writer.transport.abort()

    await until(lambda: not served.value("weir.relay.connections"))


async def test_one_connection_too_many_is_closed_at_once_and_counted(
    serve_tls: Serve, connect: Connect, ca: Ca
) -> None:
    served = await serve_tls(grpc_connections_max=1)
    method = connect(served, channel_credentials(str(ca.path))).unary_unary(PATH)
    await method(b"1")
    reader, writer = await _open(served)
    await http2.until_end(reader)
    writer.close()

    assert served.value("weir.relay.refused") == 1
    assert await method(b"2") == b"2"


async def test_a_connection_that_ends_makes_room(serve_tls: Serve, client_context: ssl.SSLContext) -> None:
    served = await serve_tls(grpc_connections_max=1)
    _, first = await _open(served, client_context)
    first.close()
    await until(lambda: not served.value("weir.relay.connections"))
    reader, second = await _open(served, client_context)
    second.write(http2.hello() + http2.call(1))

    assert http2.answered(await http2.until_answered(reader, 1)) == [1]
    second.close()


async def test_who_reads_slowly_is_waited_for_and_not_buffered_for(serve: Serve, connect: Connect) -> None:
    served = await serve(grpc_relay_buffer_bytes_max=MIB)
    reader, writer = await _open(served)
    window = http2.frame(http2.SETTINGS, payload=b"\0\4\x7f\xff\xff\xff") + http2.frame(
        http2.WINDOW_UPDATE, payload=b"\x7f\xfe\0\0"
    )
    body = b"x" * 60_000
    calls = b"".join(http2.large_call(stream, body) for stream in range(1, 800, 2))
    writer.write(http2.PREFACE + window)
    await http2.until_seen(reader, http2.WINDOW_UPDATE)  # before it, so much may not be sent
    reader._transport.pause_reading()  # type: ignore[attr-defined]  # a reader that does not read
    writer.write(calls)
    await until(lambda: served.value("weir.relay.buffered_bytes") > MIB)
    answer = await connect(served).unary_unary(PATH)(b"other")
    buffered = served.value("weir.relay.buffered_bytes")
    reader._transport.resume_reading()  # type: ignore[attr-defined]
    data = await http2.until_answered(reader, 400)
    writer.close()

    assert answer == b"other"
    assert buffered < 3 * MIB  # of 24, and in two directions
    assert sorted(http2.answered(data)) == list(range(1, 800, 2))


async def test_a_client_that_has_said_all_gets_its_answers(tmp_path: Path) -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read() + b" was all")
        writer.close()

    path = str(tmp_path / "behind")
    behind = await asyncio.start_unix_server(answer_at_the_end, path)
    relay = Relay(GrpcSettings(grpc_host="127.0.0.1", grpc_port=0), None, path, Registry())
    await relay.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"this")
    writer.write_eof()
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    await relay.stop()
    behind.close()

    assert answer == b"this was all"


async def test_a_client_is_told_to_go_only_between_two_frames(tmp_path: Path) -> None:
    whole = http2.frame(http2.DATA, 0, 1, b"x" * 100)
    written: asyncio.Queue[bytes] = asyncio.Queue()

    async def write_on(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await written.get():
            writer.write(piece)
        writer.close()

    path = str(tmp_path / "behind")
    behind = await asyncio.start_unix_server(write_on, path)
    relay = Relay(GrpcSettings(grpc_host="127.0.0.1", grpc_port=0), None, path, Registry())
    await relay.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    data = b""
    async with asyncio.timeout(30):
        for piece in (whole, whole[:20], whole[20:], whole):
            written.put_nowait(piece)
            data += await reader.readexactly(len(piece))
            relay.part()
        data += await reader.readexactly(len(GOAWAY))
    written.put_nowait(b"")
    writer.close()
    await relay.stop()
    behind.close()

    assert data == 3 * whole + GOAWAY


async def test_a_client_that_has_gone_is_not_told_to_go_and_keeps_no_front(tmp_path: Path) -> None:
    async def be_there(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    path = str(tmp_path / "behind")
    behind = await asyncio.start_unix_server(be_there, path)
    relay = Relay(GrpcSettings(grpc_host="127.0.0.1", grpc_port=0), None, path, Registry())
    await relay.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    await until(lambda: [link for link in relay.links if len(link._transports) == 2])
    (link,) = relay.links
    link.part()
    client, front = link._transports
    client.close()
    front.get_protocol().data_received(http2.frame(http2.PING, payload=b"12345678"))  # type: ignore[attr-defined]
    async with asyncio.timeout(30):
        data = await reader.read()
    # Nor does a front stay that is reached when the link has ended.
    late, _ = await asyncio.get_running_loop().create_unix_connection(asyncio.Protocol, path)
    link._join(client, late)
    is_left = late.is_closing()
    writer.close()
    await relay.stop()
    behind.close()

    assert (data, is_left) == (b"", True)


async def test_a_connection_may_last_for_ever(serve_tls: Serve, connect: Connect, ca: Ca) -> None:
    served = await serve_tls(grpc_max_connection_age=0.0)

    assert await connect(served, channel_credentials(str(ca.path))).unary_unary(PATH)(b"1") == b"1"


async def test_stopping_tells_a_busy_client_to_go_and_answers_what_it_has_asked(serve: Serve, gate: Gate) -> None:
    served = await serve(grace_seconds=30.0)
    gate.shut()
    reader, writer = await _open(served)
    writer.write(http2.hello() + http2.call(1, b"1"))
    await until(lambda: gate.messages)
    stopping = asyncio.create_task(served.server.stop())
    writer.write(http2.frame(http2.PING, payload=b"12345678"))
    data = await http2.until_seen(reader, http2.GOAWAY)
    gate.open()
    data += await http2.until_answered(reader, 1)
    await stopping
    writer.close()

    assert http2.answered(data) == [1]


async def test_what_looks_packed_and_is_damaged_is_an_error_of_that_call(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    method = connect(await serve(grpc_message_bytes_max=10_000)).unary_unary(PATH)
    call = method(b"\x1f\x8b\x08" + b"x" * 100)

    assert await call.code() == grpc.StatusCode.INTERNAL
    assert "cannot be unpacked" in (await call.details() or "")
    assert await method(b"good") == b"good"
    assert gate.messages == [b"good"]


async def test_a_client_whose_messages_cannot_be_told_apart_is_cut_off(serve: Serve, connect: Connect) -> None:
    served = await serve()
    good = connect(served).unary_unary(PATH)
    await good(b"before")
    reader, writer = await _open(served)
    call = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.header_block())
    # The head of a message far too long, cut over two frames.
    writer.write(
        http2.hello() + call + http2.frame(http2.DATA, 0, 1, b"\0\xff") + http2.frame(http2.DATA, 0, 1, b"\xff\xff\xff")
    )
    with suppress(ConnectionResetError):
        await http2.until_end(reader)
    writer.close()
    await until(lambda: served.value("weir.relay.connections") == 1)

    assert await good(b"after") == b"after"


@pytest.mark.parametrize("host", ["", "::" if socket.has_dualstack_ipv6() else "0.0.0.0"])
async def test_every_address_of_the_host_is_listened_on(serve: Serve, host: str) -> None:
    served = await serve(grpc_host=host)
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    families = {family for family, *_ in found}
    for address in ["127.0.0.1", *(["::1"] if socket.AF_INET6 in families else [])]:
        reader, writer = await asyncio.open_connection(address, served.server.port)
        writer.write(http2.hello() + http2.call(1, b"1"))
        answered = http2.answered(await http2.until_answered(reader, 1))
        writer.close()

        assert answered == [1]
