from __future__ import annotations

from random import Random

import pytest

from ratelimit.config.xds import Pauses
from ratelimit.config.xds_channel import headers, node_metadata
from ratelimit.settings import ConfigSettings
from serving.settings import SettingsError


def pauses(*, jitter: bool = False) -> Pauses:
    settings = ConfigSettings(
        config_grpc_xds_server_connect_retry_interval=3,
        xds_client_backoff_initial_interval=10,
        xds_client_backoff_max_interval=60,
        xds_client_backoff_jitter=jitter,
    )
    return Pauses(settings, Random(1))


def test_waits_grow_up_to_a_bound() -> None:
    waits = pauses()

    assert [waits.broken() for _ in range(5)] == [10, 20, 40, 60, 60]


def test_a_working_stream_resets_the_wait() -> None:
    waits = pauses()
    waits.broken()
    waits.reset()

    assert waits.broken() == 10


def test_the_wait_before_connecting_again_does_not_grow() -> None:
    waits = pauses()

    assert [waits.unreachable() for _ in range(3)] == [3, 3, 3]


def test_waits_are_spread_by_their_share() -> None:
    waits = pauses(jitter=True)
    connecting = [waits.unreachable() for _ in range(50)]

    assert (len(set(connecting)), min(connecting) >= 1.5, max(connecting) <= 4.5) == (50, True, True)


def test_a_spread_wait_is_never_above_the_bound() -> None:
    waits = pauses(jitter=True)

    assert max(waits.broken() for _ in range(50)) == 60


def test_waits_do_not_overflow_however_long_it_takes() -> None:
    waits = pauses()

    assert [waits.broken() for _ in range(10_000)][-1] == 60


@pytest.mark.parametrize(
    ("text", "metadata"),
    [("", {}), ("a=b", {"a": "b"}), ("a=b=c, d=", {"a": "b=c", "d": ""}), ("nothing", {})],
)
def test_node_metadata_is_a_list_of_pairs(text: str, metadata: dict[str, str]) -> None:
    assert node_metadata(text) == metadata


def test_header_names_are_in_lower_case() -> None:
    settings = ConfigSettings(config_grpc_xds_client_additional_headers={" X-Team": "a b"})

    assert headers(settings) == (("x-team", "a b"),)


@pytest.mark.parametrize(("name", "value"), [("a b", "x"), ("", "x"), ("a", "ü"), ("a-bin", "x")])
def test_headers_that_cannot_be_sent_are_refused(name: str, value: str) -> None:
    settings = ConfigSettings(config_grpc_xds_client_additional_headers={name: value})

    with pytest.raises(SettingsError, match=f"'{name}' cannot be sent as text"):
        headers(settings)
