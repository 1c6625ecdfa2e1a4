from __future__ import annotations

import pytest
from pydantic import SecretStr

from serving.redis import Address, Door
from serving.settings import RedisSettings, SettingsError


def door(url: str, **options: object) -> Door:
    return Door(RedisSettings(url=SecretStr(url), **{"socket_type": "tcp", **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "options", "addresses"),
    [
        ("host:7000", {}, [Address(host="host", port=7000)]),
        ("host", {}, [Address(host="host")]),
        ("[::1]:7000", {}, [Address(host="::1", port=7000)]),
        ("host:1", {"tls": True}, [Address(host="host", port=1, is_tls=True)]),
        ("/run/a,b.sock", {"socket_type": "unix"}, [Address(path="/run/a,b.sock")]),
        ("a:1, b:2,", {"type": "cluster"}, [Address(host="a", port=1), Address(host="b", port=2)]),
        ("tokens,a:1,b:2", {"type": "sentinel"}, [Address(host="a", port=1), Address(host="b", port=2)]),
        ("rediss://u:p@host:1/2", {}, [Address("host", 1, "", "u", "p", 2, is_tls=True)]),
        ("unix:///run/s?db=3", {}, [Address(host="localhost", path="/run/s", db=3)]),
    ],
)
def test_an_address_is_read_as_it_is_written(url: str, options: dict[str, object], addresses: list[Address]) -> None:
    assert door(url, **options).addresses == addresses


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("host:secret", {}),
        ("http://user:secret@host", {}),
        ("redis://user:secret@host:port", {}),
        ("secret", {"type": "SENTINEL"}),
        (",", {"type": "CLUSTER"}),
        ("secret:1", {"type": "nonsense"}),
    ],
)
def test_what_is_no_address_is_refused_without_telling_it(url: str, options: dict[str, object]) -> None:
    with pytest.raises(SettingsError) as raised:
        door(url, **options)

    assert str(raised.value).startswith("REDIS_")
    assert "secret" not in str(raised.value)
