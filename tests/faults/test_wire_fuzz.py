"""What no client of good will sends: other calls are unhurt, and what it took is given back."""

from __future__ import annotations

import asyncio
import gc
import random
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.tls import channel_credentials
from tests.fakes.certificates import Ca, issue, make_ca
from tests.wire import http2
from tests.wire.gate import Gate, until
from tests.wire.transports import PATH, TRANSPORTS, Served, build

SEED = 4
ROUNDS = [100, pytest.param(10_000, marks=pytest.mark.soak)]
AT_A_TIME = 20
BURST = b"".join(http2.call(stream, b"x" * 100) for stream in range(1, 20, 2))
CALL = http2.hello() + http2.call(1, b"body")

# What allocators keep after the first hundred connections, whatever comes after them.
RESIDENT_SLACK_MIB = 16.0


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return make_ca(tmp_path)


@pytest.fixture(params=["plain", "tls"])
async def served(request: pytest.FixtureRequest, ca: Ca) -> AsyncIterator[Served]:
    options: dict[str, Any] = {}
    if request.param != "plain":
        pair = issue(ca, ["127.0.0.1"], "server")
        files = {"grpc_server_tls_cert": str(pair.certificate), "grpc_server_tls_key": str(pair.key)}
        options = {"grpc_server_use_tls": True, **files}
    if request.param == "impatient":
        options["grpc_tls_handshake_timeout"] = 0.5
    served = build(TRANSPORTS["front"], Gate(), 0.0, **options)
    await served.server.start()
    yield served
    await served.server.stop()


Method = Callable[[bytes], Any]


@pytest.fixture
async def method(served: Served, ca: Ca) -> AsyncIterator[Method]:
    """A caller of good will, with a connection of its own."""
    if served.settings.grpc_server_use_tls:
        channel = grpc.aio.secure_channel(served.target, channel_credentials(str(ca.path)))
    else:
        channel = grpc.aio.insecure_channel(served.target)
    # Its handshake, too, may outlast the patience of an impatient server where the machine is busy.
    yield partial(channel.unary_unary(PATH), wait_for_ready=True)
    await channel.close()


Open = Callable[[], Any]


@pytest.fixture
def connect(served: Served, ca: Ca) -> Open:
    """Open a connection that speaks TLS where the server does."""
    context = ssl.create_default_context(cafile=str(ca.path)) if served.settings.grpc_server_use_tls else None
    return lambda: asyncio.open_connection("127.0.0.1", served.server.port, ssl=context)


def _resident_mib() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1024 / 1024


def _noise(source: random.Random) -> bytes:
    """Bytes of no meaning: from the start, after a good greeting, or as the insides of frames."""
    raw = source.randbytes(source.randrange(1, 2_000))
    frame = http2.frame(source.randrange(12), source.randrange(256), source.randrange(8), raw[:200])
    return source.choice([raw, http2.hello() + raw, http2.hello() + frame * 3, CALL + frame])


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, *, is_cut: bool) -> None:
    """Send something, and leave at once or when the server has said all that it would."""
    with suppress(OSError, TimeoutError):  # sent away, which is an answer
        writer.write(data)
        await writer.drain()
        if not is_cut:
            if writer.can_write_eof():
                writer.write_eof()
            async with asyncio.timeout(1):
                while await reader.read(65_536):
                    pass
    writer.transport.abort()


async def _shout(served: Served, source: random.Random) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    await _say(reader, writer, _noise(source), is_cut=source.random() < 0.5)


@pytest.mark.parametrize("rounds", ROUNDS)
async def test_noise_hurts_no_other_call(rounds: int, served: Served, method: Method) -> None:
    source = random.Random(SEED)
    answers = set()
    for _ in range(0, rounds, AT_A_TIME):
        await asyncio.gather(*(_shout(served, source) for _ in range(AT_A_TIME)))
        answers.add(await method(b"good"))

    assert answers == {b"good"}


async def test_a_call_that_is_cut_anywhere_is_no_call(served: Served, connect: Open, method: Method) -> None:
    await method(b"good")
    for cut in range(len(CALL)):
        await _say(*await connect(), CALL[:cut], is_cut=True)
    await method(b"good")

    assert served.value("weir.batch.calls") == 2


async def test_a_call_may_come_in_two_pieces_cut_anywhere(connect: Open) -> None:
    async def ask(cut: int) -> list[int]:
        reader, writer = await connect()
        writer.write(CALL[:cut])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(CALL[cut:])
        data = b""
        async with asyncio.timeout(30):
            while not http2.answered(data):
                data += await reader.read(65_536)
        writer.close()
        return http2.answered(data)

    answers = [await ask(cut) for cut in range(1, len(CALL))]

    assert answers == [[1]] * (len(CALL) - 1)


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.timeout(1200)
async def test_clients_that_leave_in_the_middle_of_their_calls_leave_nothing(
    rounds: int, served: Served, connect: Open, method: Method
) -> None:
    async def leave() -> None:
        await _say(*await connect(), http2.hello() + BURST, is_cut=True)

    for _ in range(100):
        await leave()
    before, tasks = _resident_mib(), len(asyncio.all_tasks())
    for _ in range(0, rounds, AT_A_TIME):
        await asyncio.gather(*(leave() for _ in range(AT_A_TIME)))
    answer = await method(b"good")
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    await until(lambda: served.value("weir.relay.connections") <= 1)  # the good caller's

    assert answer == b"good"
    assert _resident_mib() - before < RESIDENT_SLACK_MIB


def _packed(mib: int) -> bytes:
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packing.compress(bytes(1024 * 1024)) for _ in range(mib)) + packing.flush()


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def _until_answered(connect: Open, data: bytes) -> None:
    reader, writer = await connect()
    writer.write(http2.hello() + data)
    said = b""
    async with asyncio.timeout(20):
        while not http2.answered(said):
            said += await reader.read(65_536)
    writer.close()


async def test_a_message_that_would_unpack_to_much_takes_little(served: Served, connect: Open, method: Method) -> None:
    # As much as may be sent before the server has said that it takes more.
    bomb = http2.large_call(1, _packed(60), is_compressed=True)
    await method(b"good")
    before = _resident_mib()
    _forget_peak()
    await _until_answered(connect, bomb)
    await method(b"good")

    assert served.value("weir.batch.calls") == 2
    assert _peak_mib() - before < RESIDENT_SLACK_MIB


async def test_a_message_far_above_the_size_is_refused_before_it_has_come(
    served: Served, connect: Open, method: Method
) -> None:
    begun = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.header_block())
    await _until_answered(connect, begun + http2.frame(http2.DATA, 0, 1, b"\0\xff\xff\xff\xff" + b"x" * 100))
    await method(b"good")

    assert served.value("weir.batch.calls") == 1
    assert served.value("weir.relay.messages_refused") == 1


@pytest.mark.parametrize("served", ["impatient"], indirect=True)
async def test_half_open_handshakes_end_by_themselves(served: Served, method: Method) -> None:
    halves = [await asyncio.open_connection("127.0.0.1", served.server.port) for _ in range(50)]
    for _, writer in halves:
        writer.write(b"\x16\x03\x01\x02\x00\x01")
    answer = await method(b"good")
    await until(lambda: served.value("weir.relay.failed") == 50)
    for _, writer in halves:
        writer.transport.abort()

    assert answer == b"good"
    assert served.value("weir.relay.connections") == 1
