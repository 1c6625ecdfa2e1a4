"""Ways into Redis: users, TLS, sentinels."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ratelimit.errors import StoreRefused, StoreUnavailable
from ratelimit.store import Charge
from ratelimit.stores.redis import RedisStore
from serving.metrics import Registry
from tests.contract.redis_stores import count, counts, opened, settings, until
from tests.fakes.certificates import Ca, Issued, issue, make_ca
from tests.fakes.redis_servers import RedisServer, RedisWithSentinel, SentinelServer


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """Takes `weir` with `s:cret`, and the default user with `pass`."""
    options = ("--user", "weir", "on", ">s:cret", "~*", "&*", "+@all", "--requirepass", "pass")
    server = GuardedServer(*options, has_port=True)
    try:
        yield server.start()
    finally:
        server.remove()


class GuardedServer(RedisServer):
    def ask(self, *command: str | int) -> Any:
        return self.ask_all(("AUTH", "pass"), command)[-1]


@pytest.mark.parametrize("auth", ["pass", "weir:s:cret"])
async def test_credentials_are_a_password_or_a_user_with_one(guarded: RedisServer, auth: str) -> None:
    async with opened(settings(guarded.address, auth=SecretStr(auth))) as store:
        assert isinstance(await count(store), list)


@pytest.mark.parametrize("who", ["weir:s%3Acret", ":pass"])
async def test_credentials_may_stand_in_the_url(guarded: RedisServer, who: str) -> None:
    async with opened(settings(f"redis://{who}@{guarded.address}")) as store:
        assert isinstance(await count(store), list)


async def test_credentials_are_read_again_at_each_connection(guarded: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("weir:s:cret\n")
    async with opened(settings(guarded.address, auth_file=str(file), breaker_probe_interval=0.01)) as store:
        guarded.ask("ACL", "SETUSER", "weir", "<s:cret", ">n:ew")
        file.write_text("weir:n:ew\n")
        guarded.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        assert isinstance(await count(store), list)
    guarded.ask("ACL", "SETUSER", "weir", "<n:ew", ">s:cret")


@pytest.mark.parametrize("auth", ["weir:wr0ng", ""])
async def test_credentials_are_in_no_log_and_no_error(
    guarded: RedisServer, auth: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "serving"), pytest.raises(StoreUnavailable) as refused:
        async with opened(settings(f"redis://u:hush@{guarded.address}", auth=SecretStr(auth))):
            pass

    told = f"{caplog.text} {refused.value}"
    assert [word for word in ("wr0ng", "hush", guarded.address, "redis://") if word in told] == []


async def test_a_user_without_rights_is_refused_in_the_servers_words(guarded: RedisServer) -> None:
    guarded.ask("ACL", "SETUSER", "poor", "on", ">p", "~*", "-@all", "+eval", "+evalsha")
    async with opened(settings(guarded.address, auth=SecretStr("poor:p"), scripts="on")) as store:
        refused = await count(store)

    assert isinstance(refused, StoreRefused)


# TLS


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return make_ca(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def certificate(ca: Ca) -> Issued:
    return issue(ca, ["127.0.0.1"], "server")


@pytest.fixture(scope="module")
def tls_server(ca: Ca, certificate: Issued) -> Iterator[RedisServer]:
    """Speaks TLS on its port, and asks for a certificate."""
    server = TlsServer(
        *("--tls-cert-file", str(certificate.certificate), "--tls-key-file", str(certificate.key)),
        *("--tls-ca-cert-file", str(ca.path), "--tls-auth-clients", "yes", "--tls-replication", "yes"),
        has_port=True,
    )
    try:
        yield server.start()
    finally:
        server.remove()


class TlsServer(RedisServer):
    def _arguments(self) -> list[str]:
        _, _, *rest = super()._arguments()
        return ["--port", "0", "--tls-port", str(self.port), *rest]


def tls_options(ca: Ca, certificate: Issued) -> dict[str, Any]:
    return {
        "tls_cacert": str(ca.path),
        "tls_client_cert": str(certificate.certificate),
        "tls_client_key": str(certificate.key),
    }


@pytest.mark.parametrize("form", ["{address}", "rediss://{address}"])
async def test_tls_with_a_client_certificate(tls_server: RedisServer, ca: Ca, certificate: Issued, form: str) -> None:
    url = form.format(address=tls_server.address)
    async with opened(settings(url, tls="://" not in url, **tls_options(ca, certificate))) as store:
        assert isinstance(await count(store), list)


async def test_a_server_of_another_name_is_not_believed(tls_server: RedisServer, ca: Ca, certificate: Issued) -> None:
    options = tls_options(ca, certificate)
    with pytest.raises(StoreUnavailable):
        async with opened(settings(f"localhost:{tls_server.port}", tls=True, **options)):
            pass


async def test_the_name_is_not_compared_where_the_settings_say_so(
    tls_server: RedisServer, ca: Ca, certificate: Issued
) -> None:
    options = {**tls_options(ca, certificate), "tls_skip_hostname_verification": True}
    async with opened(settings(f"localhost:{tls_server.port}", tls=True, **options)) as store:
        assert isinstance(await count(store), list)


# Sentinels


@pytest.fixture(params=["", "watch"], ids=["open", "with a password"])
def sentinel(request: pytest.FixtureRequest) -> Iterator[tuple[RedisWithSentinel, str]]:
    redis = RedisWithSentinel(request.param)
    try:
        yield redis.start(), request.param
    finally:
        redis.remove()


async def test_a_failover_is_followed(sentinel: tuple[RedisWithSentinel, str]) -> None:
    redis, password = sentinel
    options = {"type": "sentinel", "sentinel_auth": SecretStr(password), "breaker_probe_interval": 0.02, "timeout": 5}
    async with opened(settings(redis.url, **options)) as store:
        first = await count(store)
        redis.master.stop()
        await until(lambda: counts(store))

    assert (first, b"role:master" in redis.replica.ask("INFO", "replication")) == ([(0, 1)], True)


class TlsSentinelServer(SentinelServer):
    """Speaks TLS, also to the master that it watches."""

    def __init__(self, master_port: int, *lines: str) -> None:
        super().__init__(master_port, "")
        self._lines = lines

    def _arguments(self) -> list[str]:
        path, *rest = super()._arguments()
        plain = Path(path).read_text().replace(f"port {self.port}\n", f"port 0\ntls-port {self.port}\n", 1)
        Path(path).write_text("\n".join([plain, *self._lines]))
        return [path, *rest]


async def test_sentinels_are_asked_over_tls_where_their_master_is(
    tls_server: RedisServer, ca: Ca, certificate: Issued
) -> None:
    files = f"tls-cert-file {certificate.certificate}", f"tls-key-file {certificate.key}", f"tls-ca-cert-file {ca.path}"
    sentinel = TlsSentinelServer(tls_server.port, *files, "tls-auth-clients yes", "tls-replication yes")
    try:
        sentinel.start()
        url = f"tokens,{sentinel.address}"
        options = {"type": "SENTINEL", "tls": True, "startup_initial_interval": 0.05, "startup_max_elapsed_time": 20.0}
        async with opened(settings(url, **options, **tls_options(ca, certificate))) as store:
            assert isinstance(await count(store), list)
    finally:
        sentinel.remove()


async def test_sentinels_that_know_no_such_master_are_nobody(sentinel: tuple[RedisWithSentinel, str]) -> None:
    redis, password = sentinel
    options = {"type": "SENTINEL", "sentinel_auth": SecretStr(password), "startup_max_elapsed_time": 0.01}
    with pytest.raises(StoreUnavailable):
        async with opened(settings(f"other,{redis.sentinel.address}", **options)):
            pass


async def test_a_failover_of_another_master_that_the_sentinels_watch_is_none_of_ours(
    sentinel: tuple[RedisWithSentinel, str],
) -> None:
    redis, password = sentinel
    registry = Registry()
    options = {"type": "sentinel", "sentinel_auth": SecretStr(password), "timeout": 5}
    async with opened(settings(redis.url, **options), registry=registry) as store:
        await count(store)
        store._servers[0].client._leave_old_master(b"other 127.0.0.1 1 127.0.0.1 2")

        assert await count(store) == [(1, 2)]
        assert {sample.value for sample in registry.samples() if sample.name.endswith("pool.cx_local_close")} == {0}


async def test_a_demoted_master_is_left() -> None:
    redis = RedisWithSentinel()
    try:
        redis.start()
        async with opened(settings(redis.url, type="SENTINEL", breaker_probe_interval=0.02, timeout=3)) as store:
            await count(store)
            redis.sentinel.ask("SENTINEL", "FAILOVER", "tokens")
            await until(lambda: counts_at(store, redis.replica))

            assert await count(store, Charge("last", 1, 10, 100)) == [(0, 1)]
    finally:
        redis.remove()


async def test_a_sentinel_that_comes_back_is_listened_to_again() -> None:
    redis = RedisWithSentinel()
    try:
        redis.start()
        async with opened(settings(redis.url, type="SENTINEL", breaker_probe_interval=0.02, timeout=3)) as store:
            redis.sentinel.stop()
            counted_without = await count(store)
            redis.restart_sentinel()
            redis.sentinel.ask("SENTINEL", "FAILOVER", "tokens")
            await until(lambda: counts_at(store, redis.replica))

        assert counted_without == [(0, 1)]
    finally:
        redis.remove()


async def counts_at(store: RedisStore, server: RedisServer) -> bool:
    await count(store, Charge("new", 1, 10, 100), seconds=0.2)
    try:
        # A replica has what was counted at its master, too.
        is_master = b"role:master" in server.ask("INFO", "replication")
        before = server.ask("GET", "new")
        await count(store, Charge("new", 1, 10, 100), seconds=0.2)
        return is_master and server.ask("GET", "new") != before
    except OSError:  # a server that takes another part drops its clients
        return False
