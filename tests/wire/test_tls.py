"""TLS, client certificates and files that are replaced."""

from __future__ import annotations

import logging
import shutil
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health_pb2

from serving.tls import channel_credentials
from tests.fakes.certificates import Ca, Issued, issue, make_ca
from tests.wire.gate import Gate
from tests.wire.transports import PATH, Connect, Serve, Served

CLIENT_NAME = "envoy.mesh.example"

# The front's relay ends the connection, grpcio each call.
REFUSALS = {"grpcio": grpc.StatusCode.PERMISSION_DENIED, "front": grpc.StatusCode.UNAVAILABLE}


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return make_ca(tmp_path)


@pytest.fixture
def server_pair(ca: Ca) -> Issued:
    return issue(ca, ["127.0.0.1"], "server")


@pytest.fixture
def serve_tls(serve: Serve, server_pair: Issued) -> Callable[..., Awaitable[Served]]:
    async def start(**options: Any) -> Served:
        return await serve(
            grpc_server_use_tls=True,
            grpc_server_tls_cert=str(server_pair.certificate),
            grpc_server_tls_key=str(server_pair.key),
            **options,
        )

    return start


def _credentials(ca: Ca, pair: Issued | None = None) -> grpc.ChannelCredentials:
    if pair is None:
        return channel_credentials(str(ca.path))
    return channel_credentials(str(ca.path), str(pair.certificate), str(pair.key))


async def _refused(channel: grpc.aio.Channel, path: str = PATH) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(path)(b"")
    return raised.value.code(), raised.value.details() or ""


async def test_calls_are_answered_over_tls(serve_tls: Serve, connect: Connect, ca: Ca) -> None:
    served = await serve_tls()

    assert await connect(served, _credentials(ca)).unary_unary(PATH)(b"1") == b"1"


async def test_a_plain_client_is_refused(serve_tls: Serve, connect: Connect) -> None:
    code, _ = await _refused(connect(await serve_tls()))

    assert code == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("setting", ["grpc_client_tls_cacert", "grpc_server_tls_ca_cert"])
async def test_a_ca_for_clients_makes_a_certificate_of_it_a_must(
    setting: str, serve_tls: Serve, connect: Connect, ca: Ca, tmp_path: Path
) -> None:
    served = await serve_tls(**{setting: str(ca.path)})
    other = make_ca(tmp_path, "other")
    stranger = connect(served, _credentials(ca, issue(other, [CLIENT_NAME], "stranger")))
    ours = connect(served, _credentials(ca, issue(ca, [CLIENT_NAME], "ours")))

    assert (await _refused(connect(served, _credentials(ca))))[0] == grpc.StatusCode.UNAVAILABLE
    assert (await _refused(stranger))[0] == grpc.StatusCode.UNAVAILABLE
    assert await ours.unary_unary(PATH)(b"1") == b"1"


@pytest.mark.parametrize("transport_name", ["grpcio"])
async def test_a_verified_clients_names_reach_the_handler(
    serve_tls: Serve, connect: Connect, gate: Gate, ca: Ca
) -> None:
    served = await serve_tls(grpc_client_tls_cacert=str(ca.path))
    sans = [CLIENT_NAME, "spiffe://mesh/envoy"]
    await connect(served, _credentials(ca, issue(ca, sans))).unary_unary(PATH)(b"")

    assert sorted(gate.calls[0].caller.sans) == sorted(sans)


@pytest.mark.parametrize("path", [PATH, "/grpc.health.v1.Health/Check"])
async def test_a_client_without_the_name_is_denied_every_method(
    path: str, transport_name: str, serve_tls: Serve, connect: Connect, gate: Gate, ca: Ca
) -> None:
    served = await serve_tls(grpc_client_tls_cacert=str(ca.path), grpc_client_tls_san=CLIENT_NAME)
    other = connect(served, _credentials(ca, issue(ca, ["other.mesh.example"], "other")))
    nameless = connect(served, _credentials(ca, issue(ca, [], "nameless")))

    refusal = REFUSALS[transport_name]
    assert (await _refused(other, path))[0] == refusal
    assert (await _refused(nameless, path))[0] == refusal
    assert gate.calls == []


async def test_a_client_with_the_name_is_served_every_method(serve_tls: Serve, connect: Connect, ca: Ca) -> None:
    served = await serve_tls(grpc_client_tls_cacert=str(ca.path), grpc_client_tls_san=CLIENT_NAME)
    channel = connect(served, _credentials(ca, issue(ca, [CLIENT_NAME])))
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    unary = channel.unary_unary(PATH)

    assert [await unary(b"1"), await unary(b"2")] == [b"1", b"2"]
    assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == 1
    assert (await _refused(channel, "/other.Service/Method"))[0] == grpc.StatusCode.UNIMPLEMENTED


async def test_a_name_that_nobody_can_prove_refuses_all_and_says_so(
    transport_name: str, serve_tls: Serve, connect: Connect, ca: Ca, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve_tls(grpc_client_tls_san=CLIENT_NAME)

    assert (await _refused(connect(served, _credentials(ca))))[0] == REFUSALS[transport_name]
    assert "GRPC_CLIENT_TLS_SAN" in caplog.text


async def test_verification_without_tls_is_warned_about(serve: Serve, ca: Ca, caplog: pytest.LogCaptureFixture) -> None:
    await serve(grpc_client_tls_cacert=str(ca.path))

    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_replaced_files_count_from_the_next_handshake(
    serve_tls: Serve, connect: Connect, server_pair: Issued, ca: Ca, tmp_path: Path
) -> None:
    served = await serve_tls()
    before = connect(served, _credentials(ca))
    await before.unary_unary(PATH)(b"")
    other = make_ca(tmp_path, "other")
    _replace(server_pair, issue(other, ["127.0.0.1"], "new"))

    assert await connect(served, _credentials(other)).unary_unary(PATH)(b"1") == b"1"
    assert (await _refused(connect(served, _credentials(ca))))[0] == grpc.StatusCode.UNAVAILABLE
    assert await before.unary_unary(PATH)(b"2") == b"2"


async def test_a_replaced_client_ca_counts_from_the_next_handshake(
    serve_tls: Serve, connect: Connect, ca: Ca, tmp_path: Path
) -> None:
    client_ca = tmp_path / "clients.pem"
    shutil.copy(ca.path, client_ca)
    served = await serve_tls(grpc_client_tls_cacert=str(client_ca))
    other = make_ca(tmp_path, "other")
    shutil.copy(other.path, client_ca)

    assert await connect(served, _credentials(ca, issue(other, [], "new"))).unary_unary(PATH)(b"1") == b"1"
    assert (await _refused(connect(served, _credentials(ca, issue(ca)))))[0] == grpc.StatusCode.UNAVAILABLE


async def test_broken_new_files_leave_the_old_ones_in_use_and_are_logged_once(
    serve_tls: Serve, connect: Connect, server_pair: Issued, ca: Ca, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve_tls()
    server_pair.certificate.write_text("broken")
    replies = [await connect(served, _credentials(ca)).unary_unary(PATH)(b"1") for _ in range(3)]

    assert replies == [b"1"] * 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_files_that_vanish_leave_the_old_ones_in_use(
    serve_tls: Serve, connect: Connect, server_pair: Issued, ca: Ca, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve_tls()
    server_pair.key.unlink()

    assert await connect(served, _credentials(ca)).unary_unary(PATH)(b"1") == b"1"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_pair_that_is_replaced_in_two_steps_counts_after_the_second(
    serve_tls: Serve, connect: Connect, server_pair: Issued, ca: Ca, tmp_path: Path
) -> None:
    served = await serve_tls()
    other = make_ca(tmp_path, "other")
    new = issue(other, ["127.0.0.1"], "new")
    new.certificate.replace(server_pair.certificate)
    between = await connect(served, _credentials(ca)).unary_unary(PATH)(b"old")
    new.key.replace(server_pair.key)

    assert between == b"old"
    assert await connect(served, _credentials(other)).unary_unary(PATH)(b"new") == b"new"


async def test_a_pair_that_does_not_fit_cannot_be_started_with(serve_tls: Serve, server_pair: Issued, ca: Ca) -> None:
    issue(ca, ["127.0.0.1"], "other").key.replace(server_pair.key)

    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        await serve_tls()


async def test_an_encrypted_key_is_an_error_and_no_question(serve_tls: Serve, server_pair: Issued) -> None:
    key = serialization.load_pem_private_key(server_pair.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    server_pair.key.write_bytes(pem)

    with pytest.raises(ssl.SSLError):
        await serve_tls()


async def test_a_missing_file_cannot_be_started_with(serve_tls: Serve, server_pair: Issued) -> None:
    server_pair.key.unlink()

    with pytest.raises(FileNotFoundError):
        await serve_tls()


def test_the_test_ca_signs_what_it_issues(ca: Ca) -> None:
    issued = x509.load_pem_x509_certificate(issue(ca, [CLIENT_NAME]).certificate.read_bytes())

    issued.verify_directly_issued_by(ca.certificate)
    assert issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == [CLIENT_NAME]


def _replace(old: Issued, new: Issued) -> None:
    new.certificate.replace(old.certificate)
    new.key.replace(old.key)
