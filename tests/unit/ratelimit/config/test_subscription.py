from __future__ import annotations

from protos.interop.discovery.v1.discovery_pb2 import DiscoveryRequest, DiscoveryResponse, Node
from ratelimit.config.resources import TYPE_URL
from ratelimit.config.subscription import REASON_CHARACTERS_MAX, Subscription, reason
from ratelimit.errors import ConfigError, Problem

ERROR = ConfigError([Problem("r", 0, "broken")])


def response(version: str) -> DiscoveryResponse:
    return DiscoveryResponse(version_info=version, nonce=f"nonce-{version}")


def test_the_first_request_names_the_node_and_the_type() -> None:
    request = Subscription("n", {}).first()

    assert request == DiscoveryRequest(node=Node(id="n", user_agent_name="weir"), type_url=TYPE_URL)


def test_an_acknowledgement_carries_version_and_nonce() -> None:
    request = Subscription("n", {}).accept(response("1"))

    assert request == DiscoveryRequest(version_info="1", response_nonce="nonce-1", type_url=TYPE_URL)


def test_a_refusal_carries_the_last_good_version_and_the_problems() -> None:
    subscription = Subscription("n", {})
    subscription.accept(response("1"))

    request = subscription.refuse(response("2"), ERROR)

    assert (request.version_info, request.response_nonce, request.error_detail.code, request.error_detail.message) == (
        "1",
        "nonce-2",
        3,
        "r: broken",
    )


def test_a_refusal_before_anything_good_has_no_version() -> None:
    assert Subscription("n", {}).refuse(response("1"), ERROR).version_info == ""


def test_a_new_stream_begins_without_a_version() -> None:
    subscription = Subscription("n", {})
    subscription.accept(response("1"))

    assert subscription.first().version_info == ""


def test_a_reason_names_the_first_problems_and_counts_the_rest() -> None:
    lines = reason(ConfigError([Problem("r", 0, str(number)) for number in range(30)])).splitlines()

    assert (len(lines), lines[0], lines[-1]) == (21, "r: 0", "and 10 more problems")


def test_a_reason_is_bounded() -> None:
    assert len(reason(ConfigError([Problem("r", 0, "x" * 100_000)]))) == REASON_CHARACTERS_MAX
