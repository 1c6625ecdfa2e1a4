"""Rules over ADS. One file: each test drives the same management server through one more of its moods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from protos.interop.ratelimit_config.v1.ratelimit_config_pb2 import (
    RateLimitConfig,
    RateLimitDescriptor,
    RateLimitPolicy,
    RateLimitUnit,
)
from ratelimit.config import overlay_file
from ratelimit.config.xds import XdsSource
from ratelimit.errors import ConfigError, Problem
from ratelimit.settings import ConfigSettings
from ratelimit.source import News, Rules
from serving.settings import SettingsError
from serving.yaml_nodes import Bounds
from tests.fakes.ads_server import AdsServer, resource
from tests.fakes.certificates import issue, make_ca
from tests.fakes.loaded_rules import LoadedRules

QUICK = {
    "config_grpc_xds_server_connect_retry_interval": 0.02,
    "xds_client_backoff_initial_interval": 0.02,
    "xds_client_backoff_max_interval": 0.05,
    "xds_client_nack_interval": 0.02,
}
# Names as Envoy Gateway gives them: a listener, and a policy with shared rules.
LISTENER = "envoy-gateway/eg/http"
POLICY = "default/tokens"

Opened = tuple[XdsSource, LoadedRules]
Opening = Callable[..., Coroutine[Any, Any, Opened]]


def config(
    domain: str, unit: RateLimitUnit.ValueType = RateLimitUnit.HOUR, key: str = "rule-0-match--1"
) -> RateLimitConfig:
    policy = RateLimitPolicy(unit=unit, requests_per_unit=5)
    return RateLimitConfig(
        name=domain, domain=domain, descriptors=[RateLimitDescriptor(key=key, value=key, rate_limit=policy)]
    )


@pytest.fixture
async def server() -> AsyncIterator[AdsServer]:
    server = await AdsServer().start()
    yield server
    await server.stop()


@pytest.fixture
async def open_source() -> AsyncIterator[Opening]:
    """Opens a source on a server; it does not wait for rules unless told to."""
    opened: list[XdsSource] = []

    async def opening(server: AdsServer, **settings: Any) -> Opened:
        defaults = {"config_grpc_xds_server_url": server.url, "force_start_without_initial_config": True}
        configuration = ConfigSettings(**QUICK | defaults | settings)
        rules = LoadedRules(configuration)
        opened.append(XdsSource(configuration, rules.apply))
        await opened[-1].start()
        return opened[-1], rules

    yield opening
    for source in opened:
        await source.stop()


async def test_a_stream_begins_with_the_node_and_without_a_version(server: AdsServer, open_source: Opening) -> None:
    await open_source(
        server, config_grpc_xds_node_id="envoy-ratelimit", config_grpc_xds_node_metadata="zone=a,team=b=c"
    )

    request = await server.request(lambda _: True)

    assert (request.node.id, dict(request.node.metadata), request.version_info, request.response_nonce) == (
        "envoy-ratelimit",
        {"zone": "a", "team": "b=c"},
        "",
        "",
    )


async def test_additional_headers_go_with_the_stream(server: AdsServer, open_source: Opening) -> None:
    await open_source(server, config_grpc_xds_client_additional_headers={"X-Team": "a:b"})

    await server.request(lambda _: True)

    assert server.headers[0]["x-team"] == "a:b"


async def test_a_good_state_is_in_force_and_acknowledged(server: AdsServer, open_source: Opening) -> None:
    _, loaded = await open_source(server)

    await server.publish("1", config(LISTENER), config(POLICY))
    answer = await server.request(lambda request: request.response_nonce == "nonce-1")

    assert (answer.version_info, answer.HasField("error_detail"), loaded.domains) == ("1", False, {LISTENER, POLICY})


async def test_each_state_replaces_the_one_before(server: AdsServer, open_source: Opening) -> None:
    _, loaded = await open_source(server)

    await server.publish("1", config("a"))
    await loaded.accepted("a")
    await server.publish("2", config("a"), config("b"))
    await loaded.accepted("a", "b")
    await server.publish("3", config("b"))
    await loaded.accepted("b")

    assert loaded.rules.generation == 3


async def test_an_empty_state_is_a_good_one(server: AdsServer, open_source: Opening) -> None:
    _, loaded = await open_source(server)

    await server.publish("0")
    answer = await server.request(lambda request: request.version_info == "0")

    assert (answer.HasField("error_detail"), loaded.rules.current is None, loaded.rules.has_domains) == (
        False,
        False,
        False,
    )


async def test_one_bad_resource_refuses_the_whole_state(server: AdsServer, open_source: Opening) -> None:
    _, loaded = await open_source(server)
    await server.publish("1", config(LISTENER))
    await loaded.accepted(LISTENER)

    await server.publish("2", config(LISTENER), config(POLICY, unit=RateLimitUnit.UNKNOWN))
    answer = await server.request(lambda request: request.response_nonce == "nonce-2")

    assert (answer.version_info, answer.error_detail.code, answer.error_detail.message, loaded.domains) == (
        "1",
        3,
        "default/tokens: invalid rate limit unit 'UNKNOWN'",
        {LISTENER},
    )


async def test_a_repaired_state_is_accepted(server: AdsServer, open_source: Opening) -> None:
    _, loaded = await open_source(server)

    await server.publish("1", config(""))
    await loaded.outcome(1)
    await server.publish("2", config(LISTENER))
    answer = await server.request(lambda request: request.version_info == "2")

    assert (answer.HasField("error_detail"), loaded.domains) == (False, {LISTENER})


async def test_a_refused_state_that_comes_back_at_once_is_refused_at_a_pace(open_source: Opening) -> None:
    server = await AdsServer(resends_refused=True).start()
    begin = asyncio.get_running_loop().time()

    _, loaded = await open_source(server, xds_client_nack_interval=0.05)
    await server.publish("1", config(""))
    await loaded.outcome(4)
    await server.stop()

    assert asyncio.get_running_loop().time() - begin >= 2 * 0.05


async def test_a_resource_of_another_type_is_refused(server: AdsServer, open_source: Opening) -> None:
    await open_source(server)

    await server.publish_resources("1", [resource(config("a")), AnyMessage(type_url="type.googleapis.com/other")])
    answer = await server.request(lambda request: request.HasField("error_detail"))

    assert answer.error_detail.message == "resource 1: error loading resource: its type is 'type.googleapis.com/other'"


async def test_a_response_of_another_type_is_no_news(
    server: AdsServer, open_source: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    _, loaded = await open_source(server)

    await server.publish_resources("1", [], type_url="type.googleapis.com/other")
    await logged(caplog, "which nobody asked for")
    await server.publish("2", config("a"))
    await loaded.accepted("a")

    assert len(loaded.outcomes) == 1


async def test_one_domain_may_come_in_several_resources_where_domains_are_merged(
    server: AdsServer, open_source: Opening
) -> None:
    _, loaded = await open_source(server, merge_domain_config=True)

    await server.publish("1", config("a", key="x"), config("a", key="y"))

    assert await loaded.outcome(1) is None


async def test_rules_outlive_the_management_server_and_a_new_one_begins_anew(open_source: Opening) -> None:
    server = await AdsServer().start()
    await server.publish("7", config("a"))
    _, loaded = await open_source(server)
    await loaded.accepted("a")
    await server.stop()
    after_stop = loaded.domains

    # It counts its versions from the beginning, as a restarted controller does.
    restarted = AdsServer()
    restarted.port = server.port
    await restarted.publish("7", config("b"))
    await restarted.start()
    await loaded.accepted("b")
    await restarted.stop()

    assert (after_stop, restarted.requests[0].version_info) == ({"a"}, "")


@pytest.mark.parametrize(
    "code",
    [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.OK],
    ids=lambda code: code.name,
)
async def test_a_stream_that_ends_is_opened_again(
    server: AdsServer, open_source: Opening, code: grpc.StatusCode
) -> None:
    _, loaded = await open_source(server)
    await server.publish("1", config("a"))
    await loaded.accepted("a")

    await server.end_streams(code)
    answer = await server.request(lambda request: not request.response_nonce, after=1)

    assert answer.node.id == "default"


async def test_a_server_that_never_answers_is_asked_at_a_steady_pace(
    server: AdsServer, open_source: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    port = server.port
    await server.stop()
    _, loaded = await open_source(server)
    await logged(caplog, "UNAVAILABLE")

    revived = AdsServer()
    revived.port = port
    await revived.publish("1", config("a"))
    await revived.start()
    await loaded.accepted("a")
    await revived.stop()

    assert loaded.rules.generation == 1


async def test_garbage_on_the_stream_ends_it_and_no_more(
    server: AdsServer, open_source: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    _, loaded = await open_source(server)
    await server.request(lambda _: True)

    await server.send(b"\xff\xff\xff")
    await server.request(lambda _: True, after=1)
    await server.publish("1", config("a"))
    await loaded.accepted("a")

    assert "not a discovery response" in caplog.text


async def test_a_message_above_the_bound_is_refused(
    server: AdsServer, open_source: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    _, loaded = await open_source(server, xds_client_max_msg_size_in_bytes=200)

    await server.publish("1", config("x" * 1_000))
    await server.request(lambda _: True, after=1)
    await server.publish("2", config("a"))
    await loaded.accepted("a")

    assert "RESOURCE_EXHAUSTED" in caplog.text


async def test_start_waits_for_the_first_state(server: AdsServer, open_source: Opening) -> None:
    opening = asyncio.create_task(open_source(server, force_start_without_initial_config=False))
    await server.request(lambda _: True)
    was_done = opening.done()

    await server.publish("1", config("a"))
    _, loaded = await opening

    assert (was_done, loaded.domains) == (False, {"a"})


async def test_start_does_not_wait_for_a_good_state(server: AdsServer, open_source: Opening) -> None:
    await server.publish("1", config(""))

    _, loaded = await open_source(server, force_start_without_initial_config=False)

    assert isinstance(loaded.outcomes[0], ConfigError)


async def test_start_may_be_told_not_to_wait(server: AdsServer, open_source: Opening) -> None:
    _, loaded = await open_source(server, force_start_without_initial_config=True)

    assert loaded.outcomes == []


async def test_stop_leaves_the_server(server: AdsServer, open_source: Opening) -> None:
    source, loaded = await open_source(server)
    await server.publish("1", config("a"))
    await loaded.accepted("a")

    await source.stop()
    await server.publish("2", config("b"))

    assert loaded.domains == {"a"}


async def test_a_source_that_was_not_started_can_be_stopped(server: AdsServer) -> None:
    settings = ConfigSettings(config_grpc_xds_server_url=server.url)

    source = XdsSource(settings, LoadedRules(settings).apply)

    assert await source.stop() is None  # type: ignore[func-returns-value]


async def test_whatever_fails_on_our_side_rules_can_change_again(
    server: AdsServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ConfigSettings(config_grpc_xds_server_url=server.url, **QUICK)
    calls: list[News] = []

    async def fail_once(news: News) -> None:
        calls.append(news)
        if len(calls) == 1:
            raise RuntimeError("a defect")

    await server.publish("1", config("a"))
    source = XdsSource(settings, fail_once)
    await source.start()
    await source.stop()

    assert (len(calls), "a defect" in caplog.text) == (2, True)


async def test_mutual_tls_with_a_name_that_is_not_the_address(tmp_path: Path, open_source: Opening) -> None:
    authority = make_ca(tmp_path)
    server = await AdsServer().start(issue(authority, ["controller.example"], "server"), client_ca=authority)
    client = issue(authority, ["weir.example"], "client")
    await server.publish("1", config("a"))

    _, loaded = await open_source(
        server,
        config_grpc_xds_server_use_tls=True,
        config_grpc_xds_client_tls_cert=str(client.certificate),
        config_grpc_xds_client_tls_key=str(client.key),
        config_grpc_xds_server_tls_cacert=str(authority.path),
        config_grpc_xds_server_tls_san="controller.example",
    )
    await loaded.accepted("a")
    await server.stop()

    assert loaded.rules.generation == 1


async def test_a_server_under_another_name_is_not_spoken_to(
    tmp_path: Path, open_source: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    authority = make_ca(tmp_path)
    server = await AdsServer().start(issue(authority, ["other.example"], "server"))

    await open_source(
        server, config_grpc_xds_server_use_tls=True, config_grpc_xds_server_tls_cacert=str(authority.path)
    )
    await logged(caplog, "UNAVAILABLE")
    await server.stop()

    assert server.requests == []


async def test_certificates_that_are_not_there_yet_are_waited_for(
    tmp_path: Path, open_source: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    authority = make_ca(tmp_path)
    server = await AdsServer().start(issue(authority, ["localhost"], "server"))
    await server.publish("1", config("a"))
    mounted = tmp_path / "mounted.pem"

    _, loaded = await open_source(
        server, config_grpc_xds_server_use_tls=True, config_grpc_xds_server_tls_cacert=str(mounted)
    )
    await logged(caplog, "No such file")
    mounted.write_bytes(authority.path.read_bytes())
    await loaded.accepted("a")
    await server.stop()

    assert loaded.rules.generation == 1


def test_a_header_that_cannot_be_sent_is_named_without_its_value(caplog: pytest.LogCaptureFixture) -> None:
    settings = ConfigSettings(config_grpc_xds_client_additional_headers={"authorization": "s3cret\n"})

    with pytest.raises(SettingsError, match="'authorization' cannot be sent") as error:
        XdsSource(settings, LoadedRules(settings).apply)

    assert "s3cret" not in f"{error.value}{caplog.text}"


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="ratelimit.config")


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(30):
        while text not in caplog.text:  # noqa: ASYNC110 - a log has nothing to wait on
            await asyncio.sleep(0.01)


async def test_an_overlay_lies_over_rules_of_a_management_server(server: AdsServer, open_source: Opening) -> None:
    _, loaded = await open_source(server)
    layers = f"overlays: [{{domain: {LISTENER}, rate_limit: {{on_deny: keep}}}}]"
    await loaded.rules.cover(overlay_file.read("overlay.yaml", layers.encode(), Bounds(1_000, 50)))

    await server.publish("1", config(LISTENER), config(POLICY))
    await loaded.accepted(LISTENER, POLICY)
    kept = [is_kept(loaded.rules, domain) for domain in (LISTENER, POLICY)]
    await loaded.rules.cover(overlay_file.read("overlay.yaml", b"overlays: []", Bounds(1_000, 50)))

    assert kept == [True, False]
    assert not is_kept(loaded.rules, LISTENER)


async def test_rules_wait_for_an_overlay_that_was_never_good(server: AdsServer, open_source: Opening) -> None:
    _, loaded = await open_source(server)
    await loaded.rules.cover(ConfigError([Problem("overlay.yaml", 3, "is broken")]))

    await server.publish("1", config(LISTENER))
    refused = await loaded.outcome(1)
    before = loaded.domains
    await loaded.rules.cover(overlay_file.read("overlay.yaml", b"overlays: []", Bounds(1_000, 50)))

    assert refused is not None
    assert (before, loaded.domains) == (set(), {LISTENER})


async def test_a_bad_overlay_does_not_replace_a_good_one(server: AdsServer, open_source: Opening) -> None:
    _, loaded = await open_source(server)
    layers = f"overlays: [{{domain: {LISTENER}, rate_limit: {{on_deny: keep}}}}]"
    await loaded.rules.cover(overlay_file.read("overlay.yaml", layers.encode(), Bounds(1_000, 50)))
    await server.publish("1", config(LISTENER))
    await loaded.accepted(LISTENER)

    refused = await loaded.rules.cover(ConfigError([Problem("overlay.yaml", 3, "is broken")]))
    await server.publish("2", config(LISTENER), config(POLICY))
    await loaded.accepted(LISTENER, POLICY)

    assert refused is not None
    assert is_kept(loaded.rules, LISTENER)


def is_kept(rules: Rules, domain: str) -> bool:
    assert rules.current is not None
    return rules.current.domains[domain].rules()[0].modes.is_kept
