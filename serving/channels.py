"""Connections of our clients, and what they say of themselves on each call."""

from __future__ import annotations

import grpc.aio

Metadata = tuple[tuple[str, str], ...]


def open_channel(target: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """Prepare a connection, by TLS where there are credentials; it is made at the first call."""
    if credentials is None:
        return grpc.aio.insecure_channel(target)
    return grpc.aio.secure_channel(target, credentials)


def bearer(token: str) -> Metadata:
    """Return the metadata of calls under a token; without one, none."""
    return (("authorization", f"Bearer {token}"),) if token else ()
