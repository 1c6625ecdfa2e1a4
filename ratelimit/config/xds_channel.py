"""The connection to a management server, as the settings describe it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path

import grpc
from grpc import aio

from ratelimit.settings import ConfigSettings
from serving.settings import SettingsError

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
MESSAGE_BYTES_MAX = 4 * 1024 * 1024

_HEADER_NAME = re.compile(r"[0-9a-z_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


def open_channel(settings: ConfigSettings) -> aio.Channel:
    """Return a channel that is not connected yet. Certificates are read anew, so that rotated ones are used.

    Raises:
        OSError: a file of TLS cannot be read.
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", settings.xds_client_max_msg_size_in_bytes or MESSAGE_BYTES_MAX),
        ("grpc.keepalive_time_ms", int(settings.xds_client_keepalive_time * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.xds_client_keepalive_timeout * 1000)),
        # A stream of rules is silent for hours; gRPC's own limit would end the pings after two.
        ("grpc.http2.max_pings_without_data", 0),
        # Else a new channel would share an old one's connection, and its wait before the next attempt.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if not settings.config_grpc_xds_server_use_tls:
        return aio.insecure_channel(settings.config_grpc_xds_server_url, options=options)
    if settings.config_grpc_xds_server_tls_san:
        options.append(("grpc.ssl_target_name_override", settings.config_grpc_xds_server_tls_san))
    return aio.secure_channel(settings.config_grpc_xds_server_url, credentials(settings), options=options)


def credentials(settings: ConfigSettings) -> grpc.ChannelCredentials:
    """Read the files of TLS.

    Raises:
        OSError: one cannot be read.
    """
    authority = settings.config_grpc_xds_server_tls_cacert or ssl.get_default_verify_paths().cafile
    return grpc.ssl_channel_credentials(
        root_certificates=_content(authority),
        private_key=_content(settings.config_grpc_xds_client_tls_key),
        certificate_chain=_content(settings.config_grpc_xds_client_tls_cert),
    )


def headers(settings: ConfigSettings) -> tuple[tuple[str, str], ...]:
    """Return what is sent with the stream.

    Raises:
        SettingsError: a name or a value cannot be sent; values are secrets and not told.
    """
    found = settings.config_grpc_xds_client_additional_headers
    return tuple((_header_name(name, value), value) for name, value in found.items())


def _header_name(name: str, value: str) -> str:
    lower = name.strip().lower()
    if not _HEADER_NAME.fullmatch(lower) or not _HEADER_VALUE.fullmatch(value) or lower.endswith("-bin"):
        raise SettingsError(f"CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS: '{name}' cannot be sent as text")
    return lower


def node_metadata(text: str) -> Mapping[str, str]:
    """Read `key=value,key=value`; what has no `=` is left out."""
    return dict(pair.strip().split("=", 1) for pair in text.split(",") if "=" in pair)


def _content(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None
