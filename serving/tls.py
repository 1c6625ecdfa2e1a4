"""TLS from files that may be replaced while we serve.

    handshake ── have the files changed? ── no ──▶ as before
                                          └ yes ─▶ do they fit? ── yes ─▶ the new ones, from this handshake on
                                                                └─ no ──▶ the old ones, one error line

Looking costs one `stat` per file and handshake, so a replacement counts from the next handshake.
Certificate and key cannot be replaced in one step: a pair that does not fit yet is looked at again
as soon as one of its files changes.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

_LOG = logging.getLogger(__name__)

_Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files."""

    certificate: str
    key: str
    client_ca: str = ""
    """The CA that client certificates must come from, and only it; empty: clients need none."""


class ServerTls:
    """Server credentials that follow their files."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen: _Signature = ()

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files and return credentials that read them again when they are replaced.

        Raises:
            OSError: a file cannot be read.
            ssl.SSLError: certificate, key or CA is not valid, or the key is another certificate's.
        """
        self._seen = self._signature()
        return grpc.dynamic_ssl_server_credentials(
            self._read(),
            self._fetch,  # type: ignore[arg-type]  # None is "no change", which the stubs do not know
            require_client_authentication=bool(self._files.client_ca),
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what new handshakes use from now on, or nothing where that is what they use already."""
        try:
            signature = self._signature()
            if signature == self._seen:
                return None
            self._seen = signature
            configuration = self._read()
        except (OSError, ssl.SSLError) as error:
            _LOG.error("the TLS files were replaced by unusable ones, the old ones stay in use: %s", error)
            return None
        _LOG.info("the TLS files were replaced")
        return configuration

    def _paths(self) -> tuple[str, ...]:
        paths = (self._files.certificate, self._files.key, self._files.client_ca)
        return tuple(path for path in paths if path)

    def _signature(self) -> _Signature:
        return tuple(_identity(Path(path)) for path in self._paths())

    def _read(self) -> grpc.ServerCertificateConfiguration:
        # The library takes whatever it is given and fails each handshake; OpenSSL says beforehand what is wrong.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # An encrypted key fails on the empty password; without one, OpenSSL would ask on the terminal.
        context.load_cert_chain(self._files.certificate, self._files.key, password="")
        ca = None
        if self._files.client_ca:
            context.load_verify_locations(self._files.client_ca)
            ca = Path(self._files.client_ca).read_bytes()
        pair = (Path(self._files.key).read_bytes(), Path(self._files.certificate).read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=ca)


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0, 0)
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)


def channel_credentials(ca: str = "", certificate: str = "", key: str = "") -> grpc.ChannelCredentials:
    """Read a client's files once; an empty CA means the system's, an empty certificate means none is shown.

    Raises:
        OSError: a file cannot be read.
    """
    return grpc.ssl_channel_credentials(
        root_certificates=Path(ca).read_bytes() if ca else None,
        private_key=Path(key).read_bytes() if key else None,
        certificate_chain=Path(certificate).read_bytes() if certificate else None,
    )
