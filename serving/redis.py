"""Where Redis is and how to get in: the only module that imports redis-py.

    REDIS_TYPE    REDIS_URL
    SINGLE        path | host:port | redis://user:password@host:port/db | rediss://… | unix://path
    SENTINEL      master,host:port,…      asked at every connection, and listened to, so a failover is followed
    CLUSTER       host:port,…             any of them tells where the others are

Credentials and certificates are read again at every connection: rotated ones are picked up.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hiredis
from redis.asyncio.connection import RedisSSLContext, parse_url
from redis.asyncio.sentinel import Sentinel
from redis.crc import key_slot
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError

from serving.redis_link import Link, NotSent, ReplyError
from serving.settings import RedisSettings, SettingsError

# A peer that is gone without a word is noticed after 45 s on a connection that only listens. Some platforms lack some.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_KEEPALIVE_OPTIONS = [(getattr(socket, name), value) for name, value in _KEEPALIVE.items() if hasattr(socket, name)]

MakeLink = Callable[[], Link]


@dataclass(frozen=True, slots=True)
class Address:
    """One server, and who we are to it."""

    host: str = ""
    port: int = 6379
    path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    is_tls: bool = False

    def at(self, host: str, port: int) -> Address:
        """Return another server that is entered in the same way."""
        return replace(self, host=host, port=port)


class Credentials(CredentialProvider):
    """User and password from a file, from a setting, or from the address, in this order."""

    def __init__(self, file: str = "", text: str = "", username: str = "", password: str = "") -> None:
        self._file = file
        self._text = text
        self._username = username
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return them as AUTH takes them; an empty password means that there are none."""
        text = Path(self._file).read_text(encoding="utf-8").strip() if self._file else self._text
        if not text:
            return (self._username, self._password) if self._username else (self._password,)
        username, colon, password = text.partition(":")
        return (username, password) if colon else (text,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the same; the file is small and local."""
        return self.get_credentials()


class Door:
    """Opens connections to the servers of one setting."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self.kind = settings.type.upper()
        url = settings.url.get_secret_value()
        parts = [part.strip() for part in url.split(",") if part.strip()]
        self.master = parts.pop(0) if self.kind == "SENTINEL" and parts else ""
        if self.kind not in {"SINGLE", "SENTINEL", "CLUSTER"} or not parts:
            raise SettingsError("REDIS_TYPE must be SINGLE, SENTINEL or CLUSTER, and REDIS_URL what belongs to it")
        if self.kind == "SINGLE":
            parts = [url]
        self.addresses = [self._address(part) for part in parts]

    async def open(self, make_link: MakeLink) -> Link:
        """Connect to the server, or to the one that the sentinels name.

        Raises:
            NotSent: nobody there that lets us in.
            OSError: nobody there.
        """
        address = self.addresses[0]
        if self.kind == "SENTINEL":
            address = address.at(*await self._discover())
        return await self.open_at(address, make_link)

    async def open_sentinel(self, make_link: MakeLink) -> Link:
        """Connect to the first sentinel that lets us in.

        Raises:
            NotSent: none does.
        """
        credentials = Credentials(text=self._settings.sentinel_auth.get_secret_value())
        for address in self.addresses:
            with suppress(OSError, NotSent):
                return await self.open_at(address, make_link, credentials)
        raise NotSent("no sentinel answers")

    async def open_at(self, address: Address, make_link: MakeLink, credentials: Credentials | None = None) -> Link:
        """Connect to this server and log in.

        Raises:
            NotSent: it does not let us in.
            OSError: it is not there.
        """
        loop = asyncio.get_running_loop()
        if address.path:
            _, link = await loop.create_unix_connection(make_link, address.path)
        else:
            tls = self._tls().get() if address.is_tls else None
            transport, link = await loop.create_connection(make_link, address.host, address.port, ssl=tls)
            _keep_alive(transport.get_extra_info("socket"))
        try:
            await self._greet(link, address, credentials or self._credentials(address))
        except BaseException:
            link.abort()
            raise
        return link

    def _credentials(self, address: Address) -> Credentials:
        settings = self._settings
        return Credentials(settings.auth_file, settings.auth.get_secret_value(), address.username, address.password)

    async def _greet(self, link: Link, address: Address, credentials: Credentials) -> None:
        auth = credentials.get_credentials()
        commands: list[tuple[str | int, ...]] = [("AUTH", *auth)] if auth[-1] else []
        if address.db:
            commands.append(("SELECT", address.db))
        # What answers may be a balancer with nobody behind it: only now is it sure that nothing sent would be lost.
        commands.append(("PING",))
        packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]  # its stub
        for reply in await link.send(packed, len(commands)):
            if isinstance(reply, ReplyError) and not str(reply).startswith("NOPERM"):
                raise NotSent(str(reply))

    async def _discover(self) -> tuple[str, int]:
        """Ask the sentinels for the master, one after the other."""
        timeout = self._settings.timeout
        options: dict[str, Any] = {
            "protocol": 2,
            "driver_info": None,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "credential_provider": Credentials(text=self._settings.sentinel_auth.get_secret_value()),
        }
        if not self._settings.sentinel_auth.get_secret_value():
            del options["credential_provider"]
        if self.addresses[0].is_tls:
            options |= {"ssl": True, **{f"ssl_{name}": value for name, value in self._tls_options().items()}}
        sentinels = [(address.host, address.port) for address in self.addresses]
        async with aclosing(Sentinel(sentinels, sentinel_kwargs=options)) as sentinel:  # type: ignore[no-untyped-call]
            try:
                host, port = await sentinel.discover_master(self.master)
            except RedisError:  # its text names the sentinels
                raise NotSent("the sentinels name no master") from None
        return str(host), int(port)

    def _address(self, text: str) -> Address:
        is_tls = self._settings.tls
        if "://" in text:
            return _from_url(text, is_tls=is_tls)
        if self.kind == "SINGLE" and self._settings.socket_type == "unix":
            return Address(path=text)
        host, colon, port = text.rpartition(":")
        if not colon:
            return Address(host=text, is_tls=is_tls)
        if not port.isdigit():
            raise SettingsError("REDIS_URL: not host:port")
        return Address(host=host.strip("[]"), port=int(port), is_tls=is_tls)

    def _tls(self) -> RedisSSLContext:
        return RedisSSLContext(cert_reqs="required", **self._tls_options())

    def _tls_options(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "ca_certs": settings.tls_cacert or None,
            "certfile": settings.tls_client_cert or None,
            "keyfile": settings.tls_client_key or None,
            "check_hostname": not settings.tls_skip_hostname_verification,
        }


def slot_of(key: str) -> int:
    """Return the hash slot of a key in a cluster."""
    return key_slot(key.encode())


def _from_url(url: str, *, is_tls: bool) -> Address:
    try:
        parts = parse_url(url)
    except ValueError:  # its text may hold the password
        raise SettingsError("REDIS_URL: not a redis://, rediss:// or unix:// URL") from None
    return Address(
        host=parts.get("host", "localhost"),
        port=parts.get("port", 6379),
        path=parts.get("path", ""),
        username=parts.get("username", ""),
        password=parts.get("password", ""),
        db=parts.get("db", 0),
        is_tls=is_tls or url.startswith("rediss://"),
    )


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE_OPTIONS:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
